//! Which container a process runs in, by the names that container engines give to control groups.

/// The container that the process `pid` runs in, as an identifier that its engine knows; `None` if its control groups name
/// none: it is in no container, or in the same one as we, which shows no names from inside.
pub fn container_of(pid: i32) -> Option<String> {
    std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok().as_deref().and_then(container)
}

/// The container in the text of a `/proc/PID/cgroup` (cgroups(7)): the innermost one of the first hierarchy that has any.
pub fn container(groups: &str) -> Option<String> {
    let paths = groups.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    paths.filter_map(|path| path.split('/').rev().find_map(name_in)).next()
}

/// The container that one step of a group's path names. Engines write the identifier, 64 digits in hex, alone (`docker`,
/// `kubepods` with cgroupfs) or as `docker-ID.scope`, `cri-containerd-ID.scope`, `crio-ID.scope`, `libpod-ID.scope`
/// (systemd). LXC and systemd-nspawn use the name that the operator gave.
fn name_in(step: &str) -> Option<String> {
    let bare = step.strip_suffix(".scope").unwrap_or(step);
    let last = bare.rsplit(['-', ':']).next().unwrap_or(bare);
    if last.len() == ID_DIGITS && last.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Some(last.to_owned());
    }
    let named = bare.strip_prefix("lxc.payload.").or_else(|| bare.strip_prefix("machine-"));
    named.filter(|name| !name.is_empty()).map(str::to_owned)
}

/// Digits of an identifier: that of a SHA-256.
const ID_DIGITS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4f1c9e0b7d2a4f1c9e0b7d2a4f1c9e0b7d2a4f1c9e0b7d2a4f1c9e0b7d2a4f1c";

    #[test]
    fn engines_are_known_by_their_groups() {
        for path in [
            format!("0::/system.slice/docker-{ID}.scope"),
            format!("0::/docker/{ID}"),
            format!("12:memory:/kubepods/burstable/pod8a/{ID}\n0::/"),
            format!("0::/kubepods.slice/kubepods-pod8a.slice/cri-containerd-{ID}.scope"),
            format!("0::/system.slice/containerd.service/kubepods-burstable-pod8a.slice:cri-containerd:{ID}"),
            format!("0::/machine.slice/libpod-{ID}.scope/container"),
        ] {
            assert_eq!(container(&path).as_deref(), Some(ID), "{path}");
        }
        assert_eq!(container("0::/lxc.payload.web1/system.slice/nginx.service").as_deref(), Some("web1"));
        assert_eq!(container("0::/machine.slice/machine-web2.scope").as_deref(), Some("web2"));
    }

    #[test]
    fn services_are_no_containers() {
        for path in ["0::/", "0::/system.slice/nginx.service", "4:memory:/build/02d0c973aaee617d", "", "nonsense"] {
            assert_eq!(container(path), None, "{path}");
        }
    }
}
