//! From arguments as they were typed to a config: the one place that gives them their meaning.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use kavach::config::Upper;
use kavach::{Backend, KavachError, SandboxConfig, SandboxPolicy, Workspace};

use crate::cli::SandboxArgs;
use crate::duration;
use crate::error::{CliError, Result};
use crate::policy_arg;
use crate::secret;

/// What a sandbox is made of, and what its one command gets.
#[derive(Debug)]
pub(crate) struct Resolved {
    pub(crate) config: SandboxConfig,
    /// The wall clock limit in milliseconds; 0: none. For messages.
    pub(crate) timeout_ms: u64,
    given: Given,
}

/// Which arguments were given that set a field of the policy.
#[derive(Debug)]
struct Given {
    /// How many paths are the policy's own; those after them are of the argument.
    reads_of_policy: usize,
    writes_of_policy: usize,
    workspace_mb: bool,
    memory_mb: bool,
    pids: bool,
    cpus: bool,
    output_kb: bool,
}

impl Given {
    fn of(args: &SandboxArgs, policy: &SandboxPolicy) -> Self {
        Self {
            reads_of_policy: policy.filesystem.read.len(),
            writes_of_policy: policy.filesystem.write_through.len(),
            workspace_mb: args.workspace_mb.is_some(),
            memory_mb: args.memory_mb.is_some(),
            pids: args.pids.is_some(),
            cpus: args.cpus.is_some(),
            output_kb: args.output_kb.is_some(),
        }
    }
}

impl Resolved {
    /// The argument that set this field of the config, if one did.
    pub(crate) fn argument(&self, field: &str) -> Option<&'static str> {
        let given = &self.given;
        if let Some((list, index)) = field.strip_suffix(']').and_then(|f| f.split_once('[')) {
            let (argument, of_policy) = match list {
                "filesystem.read" => ("--read", given.reads_of_policy),
                "filesystem.write_through" => ("--write-through", given.writes_of_policy),
                _ => return None,
            };
            return (index.parse::<usize>().ok()? >= of_policy).then_some(argument);
        }
        match field {
            "filesystem.workspace_mb" => given.workspace_mb.then_some("--workspace-mb"),
            "limits.memory_mb" => given.memory_mb.then_some("--memory-mb"),
            "limits.pids" => given.pids.then_some("--pids"),
            "limits.cpus" => given.cpus.then_some("--cpus"),
            "limits.output_kb" => given.output_kb.then_some("--output-kb"),
            "workspace" => Some("--workspace"),
            "workspace.upper" => Some("--workspace-upper"),
            "rootfs" => Some("--rootfs"),
            "agent_id" => Some("--agent-id"),
            "cwd" => Some("--cwd"),
            "env" => Some("--env"),
            _ => None,
        }
    }
}

/// Reads policy and secret files; starts nothing.
pub(crate) fn resolve(args: &SandboxArgs) -> Result<Resolved> {
    let backend = backend(args.backend.as_deref())?;
    let policy = policy_arg::merged("--policy", &args.policy)?;
    let mut policy = policy.unwrap_or_else(SandboxPolicy::basic);
    let given = Given::of(args, &policy);
    for path in &args.read {
        policy.filesystem.read.push(absolute("--read", path)?);
    }
    for path in &args.write_through {
        let path = absolute("--write-through", path)?;
        policy.filesystem.write_through.push(path);
    }
    let fs = &mut policy.filesystem;
    fs.workspace_mb = args.workspace_mb.unwrap_or(fs.workspace_mb);
    let limits = &mut policy.limits;
    limits.memory_mb = args.memory_mb.or(limits.memory_mb);
    limits.pids = args.pids.or(limits.pids);
    limits.cpus = args.cpus.or(limits.cpus);
    limits.output_kb = args.output_kb.unwrap_or(limits.output_kb);

    let timeout_ms = match &args.timeout {
        Some(text) => duration::milliseconds("--timeout", text)?,
        None => 0,
    };
    let (proxy, secrets) = secret::register(&args.secret)?;
    let mut builder = SandboxConfig::builder()
        .backend(backend)
        .policy(policy)
        .timeout_ms(timeout_ms)
        .credentials(proxy, secrets);
    if let Some(directory) = &args.workspace {
        let mut workspace = Workspace::new(absolute("--workspace", directory)?);
        if let Some(upper) = &args.workspace_upper {
            let upper = absolute("--workspace-upper", upper)?;
            workspace = workspace.upper(Upper::Directory(upper));
        }
        builder = builder.workspace(workspace);
    }
    if let Some(rootfs) = &args.rootfs {
        builder = builder.rootfs(absolute("--rootfs", rootfs)?);
    }
    if args.network {
        builder = builder.network(true);
    }
    if let Some(agent_id) = &args.agent_id {
        builder = builder.agent_id(agent_id);
    }
    for pair in &args.env {
        let (name, value) = variable(pair)?;
        builder = builder.env(name, value);
    }
    Ok(Resolved {
        config: builder.build(),
        timeout_ms,
        given,
    })
}

/// The backend of this name; `process` where none is given.
pub(crate) fn backend(name: Option<&str>) -> Result<Backend> {
    match name {
        Some(name) => Ok(name.parse::<Backend>()?),
        None => Ok(Backend::Process),
    }
}

/// `K=V`. A name without value is not taken from the host: the environment inside is clean.
fn variable(pair: &OsStr) -> Result<(OsString, OsString)> {
    let bytes = pair.as_bytes();
    let part = |range: Option<&[u8]>| OsStr::from_bytes(range.unwrap_or_default()).to_owned();
    match bytes.iter().position(|b| *b == b'=') {
        Some(at) if at > 0 => Ok((part(bytes.get(..at)), part(bytes.get(at + 1..)))),
        Some(_) => Err(CliError::argument(
            "--env",
            "the variable's name is empty",
            "write --env NAME=VALUE",
        )),
        None => Err(CliError::argument(
            "--env",
            // Cut: a value may stand here that belongs to nobody's log.
            format!(
                "no `=` in {:?}",
                pair.to_string_lossy().chars().take(32).collect::<String>()
            ),
            "write --env NAME=VALUE; to pass the host's own value on, --env NAME=\"$NAME\"",
        )),
    }
}

/// A host path from the caller's own directory. Names stay as they were typed, for the guest
/// sees the path under that name; only a path with `..` in it is looked up.
fn absolute(argument: &'static str, path: &Path) -> Result<PathBuf> {
    let failed = |source| {
        CliError::from(KavachError::PathMissing {
            field: argument.into(),
            path: path.to_path_buf(),
            source,
        })
    };
    if path.components().any(|part| part == Component::ParentDir) {
        return path.canonicalize().map_err(failed);
    }
    std::path::absolute(path)
        .map(|path| path.components().collect())
        .map_err(failed)
}
