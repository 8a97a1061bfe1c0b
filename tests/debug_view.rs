//! Typed values read from an image of a process, and what the messages say when that fails.

#[allow(dead_code)]
mod debug_support;

use debug_support::{Workshop, load};
use poolscope::addr::Addr;
use poolscope::debug::{DebugInfo, SearchOptions};
use poolscope::target::image::Image;
use poolscope::view::{View, ViewError};

const POOL: Addr = Addr(0x5000);
const NEXT: Addr = Addr(0x6000);

/// A pool that points to another, which points nowhere.
fn pools(debug: &DebugInfo) -> Image {
    let layout = debug.layout("pool_t").unwrap();
    let place = |path: &str| POOL + layout.offset(path).unwrap();
    let mut image = Image::new();
    image.map(POOL, vec![0; layout.size as usize]);
    image.map(NEXT, vec![0; layout.size as usize]);
    assert!(image.write_u64(place("current"), NEXT.0));
    assert!(image.write_u64(place("max"), 4016));
    assert!(image.write_u64(place("opaque"), NEXT.0));
    assert!(image.write_u64(place("hidden"), 0x9990));
    assert!(image.write(place("d.where.y"), &(-7i32).to_le_bytes()));
    assert!(image.write(place("grid") + 2 * (4 + 3), &(-2i16).to_le_bytes()));
    assert!(image.write_u64(NEXT + layout.offset("max").unwrap(), 80));
    image
}

#[test]
fn fields_pointers_and_arrays() {
    let workshop = Workshop::new();
    let debug = load(&workshop.shapes(&["-g"]), &SearchOptions::default());
    let image = pools(&debug);
    let pool = View::of(&image, &debug, "pool_t", POOL).unwrap();
    assert_eq!(pool.field("max").unwrap().u64().unwrap(), 4016);
    assert_eq!(pool.field("d.where").unwrap().field("y").unwrap().signed().unwrap(), -7);
    assert_eq!(pool.field("current").unwrap().pointer().unwrap(), NEXT);
    assert_eq!(pool.field("current").unwrap().deref().unwrap().field("max").unwrap().unsigned().unwrap(), 80);
    assert_eq!(pool.field("opaque").unwrap().deref_as("pool_t").unwrap().field("max").unwrap().unsigned().unwrap(), 80);
    let cell = pool.field("grid").unwrap().index(1).unwrap().index(3).unwrap();
    assert_eq!((cell.signed().unwrap(), cell.size().unwrap()), (-2, 2));
    let second = pool.field("current").unwrap().index(1).unwrap();
    assert_eq!(second.address(), NEXT + debug.layout("pool_t").unwrap().size);
    let variable = debug.variable("first_pool", None).unwrap().unwrap();
    let view = View::of_type(&image, &debug, variable.type_id, POOL, "first_pool");
    assert_eq!(view.field("max").unwrap().path(), "first_pool.max");
}

#[test]
fn failures_name_the_expression() {
    let workshop = Workshop::new();
    let debug = load(&workshop.shapes(&["-g"]), &SearchOptions::default());
    let image = pools(&debug);
    let variable = debug.variable("first_pool", None).unwrap().unwrap();
    let pool = View::of_type(&image, &debug, variable.type_id, POOL, "first_pool");
    let field = |path: &str| pool.field(path).unwrap();
    let message = |error: ViewError| error.to_string();

    let secret = field("hidden").deref().unwrap().field("depth").unwrap();
    assert_eq!(
        message(secret.unsigned().unwrap_err()),
        "cannot read first_pool.hidden->depth at 0x9998: no readable memory at 0x9998"
    );
    let null = field("current").deref().unwrap().field("current").unwrap();
    assert_eq!(message(null.deref().unwrap_err()), "first_pool.current->current is a null pointer");
    assert_eq!(
        message(pool.field("nothing").unwrap_err()),
        "cannot read first_pool: structure pool_s has no field nothing in the debug info of this build"
    );
    assert_eq!(message(field("max").deref().unwrap_err()), "first_pool.max is size_t, not a typed pointer");
    assert_eq!(message(field("opaque").deref().unwrap_err()), "first_pool.opaque is void *, not a typed pointer");
    assert_eq!(
        message(field("grid").index(3).unwrap_err()),
        "first_pool.grid has 3 elements, so there is no element 3"
    );
    assert_eq!(message(field("d").unsigned().unwrap_err()), "first_pool.d is data_t, not a number of at most 8 bytes");
    assert!(message(pool.cast("no_such").unwrap_err()).contains("no structure or typedef no_such"));
}
