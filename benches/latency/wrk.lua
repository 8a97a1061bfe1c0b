-- What wrk has measured, as JSON on the last line that it prints: all latencies, so that those of several runs can be put
-- together. Only done() is defined: functions for requests and answers would make wrk slower.

function done(summary, latency, requests)
   local pairs_of = {}
   for index = 1, #latency do
      local microseconds, count = latency(index)
      pairs_of[index] = string.format("[%d,%d]", microseconds, count)
   end
   local errors = summary.errors
   io.write(string.format(
      '{"microseconds":%d,"requests":%d,"errors":{"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d},"latencies":[%s]}\n',
      summary.duration, summary.requests, errors.connect, errors.read, errors.write, errors.status, errors.timeout,
      table.concat(pairs_of, ",")))
end
