//! Exports, read by the programs that they are for: promtool, the OpenMetrics parser of prometheus_client, and DuckDB.

mod consumers;
mod documented;
mod metrics;
mod samples;
mod tables;
