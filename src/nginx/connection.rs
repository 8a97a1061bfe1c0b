//! Connections, and through them all that a client or a server keeps alive: requests, HTTP/2 and HTTP/3 streams, sessions.

use super::found::Found;
use super::look::{Known, Look};
use super::owner::{NginxModule, OwnerError, OwnerFinder, Stopped};
use super::slots::ConnectionArray;

struct ConnectionFinder {
    array: ConnectionArray,
    known: Known,
}

/// Looks for the pools of connections, requests, sessions and upstream peers.
pub fn finder(nginx: NginxModule<'_>) -> Result<Option<Box<dyn OwnerFinder>>, OwnerError> {
    let Some(array) = ConnectionArray::of(nginx)? else { return Ok(None) };
    Ok(Some(Box::new(ConnectionFinder { array, known: Known::of(nginx)? })))
}

impl OwnerFinder for ConnectionFinder {
    fn what(&self) -> &'static str {
        "connections"
    }

    fn find(&self, target: &Stopped<'_>, found: &mut Found) -> Result<(), OwnerError> {
        let Some(slots) = target.slots(&self.array)? else { return Ok(()) };
        let Found { pools, texts } = found;
        let look = Look::new(&self.known, &self.array.layout, (target.chase, texts), slots);
        let mut late = Vec::new();
        for (index, connection) in slots.used() {
            look.name(index, *connection, pools, &mut late);
        }
        pools.append(&mut late);
        slots.problem.clone().map_or(Ok(()), |problem| Err(OwnerError::Implausible(problem)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Addr;
    use crate::target::image::Image;

    const CYCLE: Addr = Addr(0x1000);
    const FIRST: Addr = Addr(0x10000);
    const SIZE: u64 = 0xe8;

    fn connection(index: u64) -> Addr {
        FIRST + index * SIZE
    }

    fn finder() -> ConnectionFinder {
        ConnectionFinder { array: ConnectionArray::of_test(CYCLE), known: Known::of_test() }
    }

    /// Eight connections, each with a pool; the free list has these, in their order, and then leads to `end`.
    fn image(free: &[u64], end: Addr) -> Image {
        let mut image = Image::new();
        image.map(CYCLE, vec![0; 0x100]);
        image.map(FIRST, vec![0; 8 * SIZE as usize]);
        let mut put = |at: Addr, value: u64| assert!(image.write_u64(at, value));
        put(CYCLE, CYCLE.0 + 0x40);
        let cycle = CYCLE + 0x40;
        put(cycle + 8, FIRST.0);
        put(cycle + 16, 8);
        put(cycle + 24, free.first().map_or(end, |first| connection(*first)).0);
        for index in 0..8 {
            put(connection(index) + 0x58, 0x50000 + index * 0x1000);
            put(connection(index) + 0x40, index % 2);
        }
        for (nth, index) in free.iter().enumerate() {
            put(connection(*index), free.get(nth + 1).map_or(end, |next| connection(*next)).0);
        }
        image
    }

    fn find(image: &Image) -> (Vec<u64>, Result<(), OwnerError>) {
        let mut found = Found::default();
        let answer = finder().find(&Stopped::new(image, image), &mut found);
        let found = found.named();
        assert!(found.iter().all(|named| named.path.ends_with("].pool")));
        (found.iter().map(|named| (named.pool.0 - 0x50000) / 0x1000).collect(), answer)
    }

    #[test]
    fn pools_that_free_connections_still_point_to_are_not_named() {
        let (found, answer) = find(&image(&[6, 1, 3], Addr::NULL));
        assert_eq!(found, [0, 2, 4, 5, 7]);
        assert!(answer.is_ok());
        assert_eq!(find(&image(&[], Addr::NULL)).0.len(), 8);
        assert!(find(&image(&[7, 6, 5, 4, 3, 2, 1, 0], Addr::NULL)).0.is_empty());
    }

    #[test]
    fn a_connection_that_listens_is_a_client_s() {
        let mut found = Found::default();
        let image = image(&[], Addr::NULL);
        finder().find(&Stopped::new(&image, &image), &mut found).unwrap();
        let kinds: Vec<&str> = found.pools.iter().map(|named| named.kind.key).collect();
        assert_eq!(kinds[..2], ["connection_other", "connection"]);
    }

    #[test]
    fn a_damaged_list_of_free_connections_is_reported_and_the_rest_is_named() {
        let cases = [
            (connection(6), "circle"),
            (connection(3), "circle"),
            (connection(8), "no connection"),
            (connection(2) + 8, "no connection"),
            (Addr(8), "no connection"),
            (Addr(u64::MAX), "no connection"),
        ];
        for (end, says) in cases {
            let (found, answer) = find(&image(&[6, 1, 3], end));
            assert_eq!(found, [0, 2, 4, 5, 7]);
            let error = answer.unwrap_err().to_string();
            assert!(error.contains(says) && error.contains(&end.to_string()), "{error}");
        }
    }

    #[test]
    fn a_count_that_cannot_be_is_an_error_and_costs_no_memory() {
        for count in [9, 1 << 20, 64 << 20, u64::MAX] {
            let mut image = image(&[], Addr::NULL);
            assert!(image.write_u64(CYCLE + 0x50, count));
            assert!(find(&image).1.is_err(), "{count}");
        }
    }
}
