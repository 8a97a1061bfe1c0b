//! drgn from PyPI, in a virtual environment below the target directory, installed on first use.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::common::run;
use crate::common::scratch::{Scratch, target_tmp};

/// One version, so that figures can be compared.
const VERSION: &str = "0.3.0";

const PATIENCE: Duration = Duration::from_secs(120);

/// The Python that has drgn.
///
/// # Errors
/// Why there is none, and which Debian package helps.
pub(crate) fn python(scratch: &Scratch) -> Result<PathBuf, String> {
    let environment = target_tmp().join(format!("drgn-{VERSION}"));
    let python = environment.join("bin/python");
    if !has_drgn(&python, scratch) {
        eprintln!("installing drgn {VERSION} from PyPI into {}", environment.display());
        install(&environment, &python, scratch)?;
    }
    Ok(python)
}

fn has_drgn(python: &Path, scratch: &Scratch) -> bool {
    let mut command = Command::new(python);
    command.args(["-c", &format!("import drgn, sys; sys.exit(drgn.__version__ != '{VERSION}')")]);
    run::run(command, PATIENCE, scratch).is_ok()
}

fn install(environment: &Path, python: &Path, scratch: &Scratch) -> Result<(), String> {
    let mut create = Command::new("python3");
    create.args(["-m", "venv", "--clear"]).arg(environment);
    run::run(create, PATIENCE, scratch)
        .map_err(|cause| format!("no virtual environment: Debian's packages python3 and python3-venv ({cause})"))?;
    let mut fetch = Command::new(python);
    fetch.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).arg(format!("drgn=={VERSION}"));
    run::run(fetch, PATIENCE, scratch).map_err(|cause| format!("drgn {VERSION} not installed from PyPI ({cause})"))?;
    if has_drgn(python, scratch) {
        Ok(())
    } else {
        Err(format!("drgn {VERSION} was installed, but cannot be imported"))
    }
}
