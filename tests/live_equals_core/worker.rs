//! A leaking worker and its master.

use crate::core_support::{Directory, Packing};
use crate::model::assert_equal;
use crate::process::{live, of_core, stop};
use poolscope_fixtures::{Leak, LeakPlan, Nginx, gcore, kernel_core};

#[test]
fn a_leaking_worker_and_its_master() {
    let directory = Directory::new();
    let nginx = Nginx::builder().start().unwrap();
    let _leak = Leak::run(&nginx, &LeakPlan::new(40, 200), |_| ()).unwrap();
    let worker = nginx.worker_pid().unwrap();
    stop(worker);
    let expected = live(worker);
    assert_eq!(expected.pools.iter().filter(|pool| pool.owner.kind.starts_with("dyups.")).count(), 40);
    let of_gdb = of_core(&gcore(worker, directory.path()).unwrap());
    assert_equal(&expected, &of_gdb, "worker, gcore");
    let core = kernel_core(worker, directory.path()).unwrap();
    assert_equal(&expected, &of_core(&core), "worker, kernel");
    let bytes = std::fs::read(&core).unwrap();
    for packing in Packing::ALL {
        let packed = directory.write("packed", &packing.pack(&bytes));
        assert_equal(&expected, &of_core(&packed), &format!("worker, kernel, {packing:?}"));
    }
    let master = nginx.master_pid();
    stop(master);
    let expected = live(master);
    let of_gdb = of_core(&gcore(master, directory.path()).unwrap());
    assert_equal(&expected, &of_gdb, "master, gcore");
    let of_kernel = of_core(&nginx.kernel_core_of_master(directory.path()).unwrap());
    assert_equal(&expected, &of_kernel, "master, kernel");
}
