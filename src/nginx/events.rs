//! Timers and posted events, and the pools that only they keep.
//!
//! An event is a member of something: a connection's slot in an array, or a structure of some module in a pool. The tree of
//! timers and the queues of posted events lead to each that waits (nginx `src/event/ngx_event_timer.c`,
//! `ngx_event_posted.c`). Those of connections are known by their connections; of any other, what its `data` points to
//! tells whose it is.

use super::fields::checked_size;
use super::found::{Facts, Found, FoundPool, Path};
use super::lua::{LuaTimers, PENDING};
use super::owner::{NginxModule, OwnerError, OwnerFinder, OwnerKind, Stopped, Trust};
use super::slots::ConnectionArray;
use crate::addr::Addr;
use crate::target::memory::{Memory, word_at};

/// A pool that is kept by a timer alone.
pub const TIMER: OwnerKind = OwnerKind { key: "timer", label: "pool that only a timer keeps", unit: None };
/// A pool that is kept by a posted event alone.
pub const POSTED: OwnerKind =
    OwnerKind { key: "posted_event", label: "pool that only a posted event keeps", unit: None };

/// More events than this in the tree or a queue are not believed.
const MAX_EVENTS: usize = 16 << 20;

/// Queues of posted events; which of them there are depends on the version. The last one is OpenResty's.
const QUEUES: [&str; 4] =
    ["ngx_posted_events", "ngx_posted_accept_events", "ngx_posted_next_events", "ngx_posted_delayed_events"];

/// An event that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// The `ngx_event_t`.
    pub address: Addr,
    /// What is to be called.
    pub handler: Addr,
    /// Whose it is: a connection, or anything of a module.
    pub data: Addr,
}

struct EventFinder {
    /// The variable `ngx_event_timer_rbtree`.
    tree: Option<Addr>,
    queues: Vec<(&'static str, Addr)>,
    layout: EventLayout,
    connections: ConnectionArray,
    lua: Option<LuaTimers>,
}

/// Offsets in `ngx_event_t`, in the tree, and in links of queues.
struct EventLayout {
    size: u64,
    data: u64,
    handler: u64,
    timer: u64,
    left: u64,
    right: u64,
    parent: u64,
    queue: u64,
    next: u64,
    root: u64,
    sentinel: u64,
}

/// Looks for pools that timers and posted events lead to.
pub fn finder(nginx: NginxModule<'_>) -> Result<Option<Box<dyn OwnerFinder>>, OwnerError> {
    let Some(connections) = ConnectionArray::of(nginx)? else { return Ok(None) };
    let tree = nginx.variable("ngx_event_timer_rbtree");
    let queues: Vec<_> = QUEUES.iter().filter_map(|name| Some((*name, nginx.variable(name)?))).collect();
    if tree.is_none() && queues.is_empty() {
        return Ok(None);
    }
    let layout = EventLayout::new(nginx)?;
    let lua = LuaTimers::of(nginx, layout.size)?;
    Ok(Some(Box::new(EventFinder { tree, queues, layout, connections, lua })))
}

impl OwnerFinder for EventFinder {
    fn what(&self) -> &'static str {
        "timers and posted events"
    }

    fn find(&self, target: &Stopped<'_>, found: &mut Found) -> Result<(), OwnerError> {
        let memory = target.chase;
        let connections = self.connections.range(memory)?;
        let mut outcome = Ok(());
        let mut add = |what: &'static str, kind, events: Result<(), String>, waiting: Vec<Event>| {
            for event in waiting.iter().filter(|event| !connections.contains(event.data)) {
                self.name(memory, what, kind, event, &mut found.pools);
            }
            if let Err(problem) = events {
                outcome = Err(OwnerError::Implausible(format!("{what}: {problem}")));
            }
        };
        if let Some(tree) = self.tree {
            let mut timers = Vec::new();
            let end = self.layout.timers(memory, tree, &mut timers);
            add("ngx_event_timer_rbtree", &TIMER, end, timers);
        }
        for (name, queue) in &self.queues {
            let mut posted = Vec::new();
            let end = self.layout.posted(memory, *queue, &mut posted);
            add(name, &POSTED, end, posted);
        }
        outcome
    }
}

impl EventFinder {
    fn name(
        &self,
        memory: &dyn Memory,
        what: &'static str,
        kind: &'static OwnerKind,
        event: &Event,
        found: &mut Vec<FoundPool>,
    ) {
        let facts = Facts { handler: Some(event.handler), ..Facts::default() };
        if let Some((pool, trust)) = self.lua.as_ref().and_then(|lua| lua.pool_of(memory, event)) {
            let opening = ": ((ngx_http_lua_timer_ctx_t *) ((ngx_event_t *) ";
            let path = Path::to_address(what, opening, event.address, ")->data)->pool");
            let keeper = Some(event.address);
            found.push(FoundPool { trust, facts, keeper, ..FoundPool::plain(pool, &PENDING, path) });
            return;
        }
        let inside = |address, path| FoundPool {
            within: true,
            trust: Trust::InferredPath,
            facts,
            ..FoundPool::plain(address, kind, path)
        };
        if !event.data.is_null() {
            found.push(inside(event.data, Path::around("", what, "->data")));
        }
        found.push(inside(event.address, Path::fixed(what)));
    }
}

impl EventLayout {
    fn new(nginx: NginxModule<'_>) -> Result<EventLayout, OwnerError> {
        let (event, tree) = (nginx.layout("ngx_event_s")?, nginx.layout("ngx_rbtree_s")?);
        let node = nginx.layout("ngx_rbtree_node_s")?;
        let first = |whole: u64, part: u64| whole.checked_sub(part);
        let timer = first(event.offset("timer.left")?, node.offset("left")?);
        let queue = first(event.offset("queue.next")?, nginx.layout("ngx_queue_s")?.offset("next")?);
        let (Some(timer), Some(queue)) = (timer, queue) else {
            return Err(OwnerError::Implausible("ngx_event_t does not embed what is listed".to_owned()));
        };
        Ok(EventLayout {
            size: checked_size("ngx_event_t", event.size)?,
            data: event.offset("data")?,
            handler: event.offset("handler")?,
            timer,
            left: node.offset("left")?,
            right: node.offset("right")?,
            parent: node.offset("parent")?,
            queue,
            next: nginx.layout("ngx_queue_s")?.offset("next")?,
            root: tree.offset("root")?,
            sentinel: tree.offset("sentinel")?,
        })
    }

    /// The bytes of an event as far as anything of it counts. It is read once, for its links and all else.
    fn bytes(&self) -> Vec<u8> {
        let link = [self.left, self.right, self.parent].map(|offset| self.timer.saturating_add(offset));
        let fields = [self.data, self.handler, self.queue.saturating_add(self.next)].into_iter().chain(link);
        vec![0; fields.fold(0, u64::max).min(self.size).saturating_add(8) as usize]
    }

    /// Reads the event whose link lies at `link`, `offset` bytes behind its start.
    fn read(&self, memory: &dyn Memory, link: Addr, offset: u64, bytes: &mut [u8]) -> Result<Event, String> {
        let start = link.0.checked_sub(offset).map(Addr).ok_or_else(|| format!("no event can lie at {link}"))?;
        memory.read(start, bytes).map_err(|fault| fault.to_string())?;
        let word = |offset| Addr(word_at(bytes, offset));
        Ok(Event { address: start, handler: word(self.handler), data: word(self.data) })
    }

    /// Every event in the tree. A child must point back to its parent, which is why no walk can lead in a circle.
    fn timers(&self, memory: &dyn Memory, tree: Addr, events: &mut Vec<Event>) -> Result<(), String> {
        let pointer = |address: Addr| memory.read_pointer(address).map_err(|fault| fault.to_string());
        let (root, sentinel) = (pointer(tree + self.root)?, pointer(tree + self.sentinel)?);
        let mut waiting = vec![(root, None)];
        let mut bytes = self.bytes();
        while let Some((node, parent)) = waiting.pop() {
            // Before the first timer is set up there is neither.
            if node == sentinel || node.is_null() {
                continue;
            }
            if events.len() >= MAX_EVENTS {
                return Err(format!("there are more than {MAX_EVENTS} timers"));
            }
            let event = self.read(memory, node, self.timer, &mut bytes)?;
            let word = |offset: u64| Addr(word_at(&bytes, self.timer + offset));
            if parent.is_some_and(|parent| word(self.parent) != parent) {
                return Err(format!("the timer at {node} does not point back to where it was found"));
            }
            let (left, right) = (word(self.left), word(self.right));
            if (left == right && left != sentinel) || [left, right].contains(&root) {
                return Err(format!("the timer at {node} leads in a circle"));
            }
            waiting.extend([(left, Some(node)), (right, Some(node))]);
            events.push(event);
        }
        Ok(())
    }

    /// Every event in a queue, whose head lies at `head`.
    fn posted(&self, memory: &dyn Memory, head: Addr, events: &mut Vec<Event>) -> Result<(), String> {
        let mut link = memory.read_pointer(head + self.next).map_err(|fault| fault.to_string())?;
        let mut bytes = self.bytes();
        // A circle that the head is not part of comes by the same link before twice as many steps are taken (Brent).
        let mut mark = (Addr::NULL, 1);
        // It is all zeroes in a process that runs no events.
        while link != head && !link.is_null() {
            if link == mark.0 || events.len() >= MAX_EVENTS {
                return Err(format!("the queue does not lead back to its head; it was left at {link}"));
            }
            if events.len() == mark.1 {
                mark = (link, events.len() * 2);
            }
            events.push(self.read(memory, link, self.queue, &mut bytes)?);
            link = Addr(word_at(&bytes, self.queue + self.next));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::image::Image;

    const TREE: Addr = Addr(0x1000);
    const SENTINEL: Addr = Addr(0x1100);
    const EVENTS: Addr = Addr(0x4000);

    const LAYOUT: EventLayout = EventLayout {
        size: 96,
        data: 0,
        handler: 16,
        timer: 40,
        left: 8,
        right: 16,
        parent: 24,
        queue: 80,
        next: 8,
        root: 0,
        sentinel: 8,
    };

    fn event(number: u64) -> Addr {
        EVENTS + number * 96
    }

    /// A tree of `count` timers: each has the next two as children, as in a heap.
    fn image(count: u64) -> Image {
        let mut image = Image::new();
        image.map(TREE, vec![0; 0x200]);
        image.map(EVENTS, vec![0; 96 * 64]);
        let mut put = |at: Addr, value: Addr| assert!(image.write_u64(at, value.0));
        let node = |number: u64| if number < count { event(number) + 40 } else { SENTINEL };
        put(TREE, node(0));
        put(TREE + 8, SENTINEL);
        for number in 0..count {
            put(event(number), Addr(0x7000 + number));
            put(event(number) + 16, Addr(0x9000));
            put(node(number) + 8, node(number * 2 + 1));
            put(node(number) + 16, node(number * 2 + 2));
            if number > 0 {
                put(node(number) + 24, node((number - 1) / 2));
            }
        }
        image
    }

    fn timers(image: &Image) -> (Vec<u64>, Result<(), String>) {
        let mut events = Vec::new();
        let end = LAYOUT.timers(image, TREE, &mut events);
        let mut found: Vec<u64> = events.iter().map(|event| event.data.0 - 0x7000).collect();
        found.sort_unstable();
        (found, end)
    }

    #[test]
    fn every_timer_of_the_tree_is_found_once() {
        for count in [0, 1, 2, 5, 64] {
            assert_eq!(timers(&image(count)), ((0..count).collect(), Ok(())));
        }
    }

    #[test]
    fn a_tree_that_leads_astray_is_left() {
        let damage =
            [(event(4) + 40 + 8, event(0) + 40), (event(4) + 40 + 8, event(1) + 40), (event(1) + 56, Addr(0x99))];
        for (at, value) in damage {
            let mut image = image(10);
            assert!(image.write_u64(at, value.0));
            assert!(timers(&image).1.is_err(), "{at} {value}");
        }
    }

    #[test]
    fn a_queue_is_followed_back_to_its_head_and_not_in_another_circle() {
        let mut image = image(0);
        let head = TREE + 0x40;
        let link = |number| event(number) + 80;
        for (from, to) in [(head, link(0)), (link(0), link(1)), (link(1), link(2)), (link(2), head)] {
            assert!(image.write_u64(from + 8, to.0));
        }
        let mut events = Vec::new();
        assert_eq!(LAYOUT.posted(&image, head, &mut events), Ok(()));
        assert_eq!(events.iter().map(|event| event.address).collect::<Vec<_>>(), [event(0), event(1), event(2)]);
        assert!(image.write_u64(link(2) + 8, link(1).0));
        assert!(LAYOUT.posted(&image, head, &mut Vec::new()).is_err());
    }
}
