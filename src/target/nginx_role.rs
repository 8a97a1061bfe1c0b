//! What an nginx process is, by its title and by its name.

use serde::{Serialize, Serializer};
use std::fmt;

/// What an nginx process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Starts and stops the others.
    Master,
    /// Serves clients.
    Worker,
    /// Serves the clients that it has, and ends after the last of them.
    ShuttingDown,
    /// Removes what is too old or too much from caches on disk.
    CacheManager,
    /// Reads the names in caches on disk after a start.
    CacheLoader,
    /// OpenResty's helper with the master's rights.
    PrivilegedAgent,
    /// Another process that a master has started, of a module.
    Helper,
    /// The only process: `master_process` is off.
    Single,
}

impl Role {
    /// What it is called in rows and reports.
    pub fn name(self) -> &'static str {
        match self {
            Role::Master => "master",
            Role::Worker => "worker",
            Role::ShuttingDown => "worker shutting down",
            Role::CacheManager => "cache manager",
            Role::CacheLoader => "cache loader",
            Role::PrivilegedAgent => "privileged agent",
            Role::Helper => "helper",
            Role::Single => "single process",
        }
    }

    /// True if it serves clients, or did: its heap is the one that grows.
    pub fn serves(self) -> bool {
        matches!(self, Role::Worker | Role::ShuttingDown | Role::Single)
    }

    /// What a title says that nginx has written (`src/os/unix/ngx_process_cycle.c`, `ngx_setproctitle`); `None` for every
    /// other command line. Angie writes its own name; it and Tengine put more behind some of the words.
    pub fn of_title(title: &str) -> Option<Role> {
        const ROLES: [(&str, Role); 6] = [
            ("worker process is shutting down", Role::ShuttingDown),
            ("worker process", Role::Worker),
            ("master process", Role::Master),
            ("cache manager", Role::CacheManager),
            ("cache loader", Role::CacheLoader),
            ("privileged agent", Role::PrivilegedAgent),
        ];
        let said = TITLES.iter().find_map(|start| title.strip_prefix(start))?;
        let known = ROLES.iter().find(|(words, _)| said.starts_with(words)).map(|(_, role)| *role);
        // Modules of Tengine and others start processes of their own and name them so.
        known.or_else(|| said.contains("process").then_some(Role::Helper))
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Role {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name().replace(' ', "_"))
    }
}

/// What nginx and its kin write before the role.
const TITLES: [&str; 2] = ["nginx: ", "angie: "];

/// True for the file names of nginx and its kin, also of another version beside it: `nginx-debug`, `nginx.old`,
/// `nginx-1.28.3`. Not for that of other programs that deal with nginx: `nginx-ingress-controller`.
pub fn is_server_name(name: &str) -> bool {
    const NAMES: [&str; 5] = ["nginx", "tengine", "openresty", "angie", "freenginx"];
    const OTHERS: [&str; 6] = ["debug", "old", "oldbin", "new", "bak", "quic"];
    NAMES.iter().filter_map(|known| name.strip_prefix(known)).any(|rest| {
        let word = rest.trim_start_matches(['-', '.', '_']);
        rest.is_empty() || OTHERS.contains(&word) || is_version(word)
    })
}

fn is_version(word: &str) -> bool {
    word.starts_with(|digit: char| digit.is_ascii_digit())
        && word.chars().all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-' | '_' | '+'))
}

/// True for the arguments of a command that ends by itself: `nginx -t`, `nginx -s reload`, `nginx -V`.
pub fn is_short_command(words: &[String]) -> bool {
    words.iter().skip(1).any(|word| matches!(word.as_str(), "-t" | "-T" | "-s" | "-v" | "-V" | "-h" | "-?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_say_the_role() {
        for (title, role) in [
            ("nginx: master process /usr/sbin/nginx -g daemon off;", Role::Master),
            ("nginx: worker process", Role::Worker),
            ("nginx: worker process is shutting down", Role::ShuttingDown),
            ("nginx: cache manager process", Role::CacheManager),
            ("nginx: cache loader process", Role::CacheLoader),
            ("nginx: privileged agent process", Role::PrivilegedAgent),
            ("nginx: pipe process", Role::Helper),
            ("angie: worker process #1", Role::Worker),
            ("angie: master process v1.8.0 #1 [/usr/sbin/angie]", Role::Master),
        ] {
            assert_eq!(Role::of_title(title), Some(role), "{title}");
        }
    }

    #[test]
    fn command_lines_about_nginx_are_no_titles() {
        for line in [
            "vim nginx.conf",
            "grep nginx",
            "/usr/sbin/nginx -g daemon off;",
            "grep nginx: worker process",
            "nginx:",
            "",
        ] {
            assert_eq!(Role::of_title(line), None, "{line}");
        }
    }

    #[test]
    fn names_of_servers_are_known() {
        for name in ["nginx", "tengine", "openresty", "nginx-debug", "nginx.old", "nginx-1.28.3", "nginx1.24", "angie"]
        {
            assert!(is_server_name(name), "{name}");
        }
        for name in ["vim", "nginx-ingress-controller", "nginx.conf", "nginx-prometheus-exporter", "nginxfmt", ""] {
            assert!(!is_server_name(name), "{name}");
        }
    }

    #[test]
    fn commands_that_end_by_themselves_are_no_servers() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert!(is_short_command(&words("nginx -t")) && is_short_command(&words("nginx -s reload")));
        assert!(!is_short_command(&words("nginx -c /etc/nginx/nginx.conf")));
    }
}
