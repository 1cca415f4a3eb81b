//! Maps errors of the driver and error replies of the server to errors of a store.
//!
//! The code of an error reply is its first word:
//! <https://redis.io/docs/latest/develop/reference/protocol-spec/#simple-errors>.

use std::borrow::Cow;
use std::io;
use std::sync::Arc;

use redis::{ErrorKind as DriverKind, ParsingError, RedisError};
use stent_core::backend::{Error, ErrorKind};

/// A call, as the message about its failure describes it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call<'a> {
    pub(crate) operation: &'static str,
    /// The server, without the password.
    pub(crate) server: &'a str,
    /// The first key of the command.
    pub(crate) key: Option<&'a [u8]>,
}

/// The operation of connecting.
pub(crate) const CONNECT: &str = "connect";

/// The consequence of a failure for its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The connection is sound.
    Keep,
    /// The connection is broken or leads to the wrong server: the next call opens another connection.
    Replace,
    /// Like `Replace`, and the server has certainly not run the command.
    Redirect,
}

/// Converts the driver's error into the error of a call.
pub(crate) fn failed(call: Call<'_>, error: RedisError) -> Error {
    let (kind, message) = explain(call, &error);
    Error::new(kind, call.operation).with_message(message).with_source(error)
}

/// Decides whether the connection that returned this error stays in use.
pub(crate) fn verdict(error: &RedisError) -> Verdict {
    match reply(error) {
        Some(reply) => match reply.code.as_ref() {
            "MOVED" => Verdict::Redirect,
            // A failover has turned the server into a replica, or a login is no longer valid. The next connection checks both.
            "READONLY" | "CLUSTERDOWN" | "MASTERDOWN" | "NOAUTH" | "WRONGPASS" => Verdict::Replace,
            "ERR" if reply.text.starts_with("max number of clients") => Verdict::Replace,
            _ => Verdict::Keep,
        },
        None if error.kind() == DriverKind::UnexpectedReturnType => Verdict::Keep,
        None => Verdict::Replace,
    }
}

/// Returns the error of a call whose reply has an unexpected type.
pub(crate) fn unexpected(call: Call<'_>, error: ParsingError) -> Error {
    let message = format!("{} sent another type of reply than expected{}", call.server, at_key(call));
    Error::new(ErrorKind::Corrupt, call.operation).with_message(message).with_source(error)
}

/// Whether the server does not have the script and therefore has not run it.
pub(crate) fn is_missing_script(error: &RedisError) -> bool {
    reply(error).is_some_and(|reply| reply.code == "NOSCRIPT")
}

/// Whether nothing but a lost reply is known of the call: the server may have run it.
pub(crate) fn is_unanswered(error: &Error) -> bool {
    use std::error::Error as _;
    let source = error.source().and_then(|source| source.downcast_ref::<RedisError>());
    source.is_some_and(|source| reply(source).is_none())
}

/// Whether the other side closed the connection, or sent something else than Redis's protocol.
pub(crate) fn is_broken_off(error: &Error) -> bool {
    use std::error::Error as _;
    let source = error.source().and_then(|source| source.downcast_ref::<RedisError>());
    source.is_some_and(|source| {
        let is_dropped = source.is_connection_dropped() && !source.is_connection_refusal();
        is_dropped || source.kind() == DriverKind::Parse
    })
}

/// Whether a command found a value of another type under a key, which the reply does not name.
pub(crate) fn is_wrong_type(error: &RedisError) -> bool {
    reply(error).is_some_and(|reply| reply.code == "WRONGTYPE")
}

/// An error reply of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Reply<'a> {
    code: Cow<'a, str>,
    text: Cow<'a, str>,
}

fn reply(error: &RedisError) -> Option<Reply<'static>> {
    let errors = error.clone().into_server_errors()?;
    let (_, first) = errors.first()?;
    Some(unwrapped(first.code(), first.details().unwrap_or_default()).into_owned())
}

impl Reply<'_> {
    fn into_owned(self) -> Reply<'static> {
        Reply { code: self.code.into_owned().into(), text: self.text.into_owned().into() }
    }
}

/// Extracts the error of a command that failed within a script. Redis 6.2 wraps such an error:
/// `ERR Error running script (call to f_1a2b): @user_script:3: @user_script: 3: -OOM …`, with the position once or twice.
fn unwrapped<'a>(code: &'a str, text: &'a str) -> Reply<'a> {
    let whole = Reply { code: code.into(), text: text.into() };
    if code != "ERR" || !text.starts_with("Error running script") {
        return whole;
    }
    let Some((_, rest)) = text.rsplit_once("@user_script:") else { return whole };
    let Some((_, inner)) = rest.trim_start().split_once(": ") else { return whole };
    let inner = inner.trim_start_matches('-');
    match inner.split_once(' ') {
        Some((code, text)) if code.bytes().all(|byte| byte.is_ascii_uppercase()) => {
            Reply { code: code.into(), text: text.into() }
        }
        _ => Reply { code: "ERR".into(), text: inner.into() },
    }
}

fn explain(call: Call<'_>, error: &RedisError) -> (ErrorKind, String) {
    match reply(error) {
        Some(reply) => {
            let (kind, message) = by_code(call, &reply.code, &reply.text);
            (
                kind,
                message.unwrap_or_else(|| format!("{} replied {} {}", call.server, reply.code, reply.text)),
            )
        }
        None => by_driver(call, error),
    }
}

fn by_driver(call: Call<'_>, error: &RedisError) -> (ErrorKind, String) {
    let server = call.server;
    match error.kind() {
        DriverKind::Io if error.is_timeout() => (
            ErrorKind::Unavailable,
            format!("{server} did not reply within response_timeout; the call may have been applied"),
        ),
        DriverKind::Io => match bad_tls(error) {
            Some(remedy) => (ErrorKind::Config, format!("TLS with {server} failed: {error}; {remedy}")),
            // Connecting changes nothing.
            None if call.operation == CONNECT => {
                (ErrorKind::Unavailable, format!("lost the connection to {server} ({error})"))
            }
            None => (
                ErrorKind::Unavailable,
                format!("lost the connection to {server} ({error}); the call may have been applied"),
            ),
        },
        DriverKind::Parse => {
            (ErrorKind::Unavailable, format!("{server} does not speak Redis's protocol: {error}"))
        }
        DriverKind::UnexpectedReturnType => {
            (ErrorKind::Corrupt, format!("{server} sent another type of reply than expected: {error}"))
        }
        DriverKind::InvalidClientConfig | DriverKind::Client => {
            (ErrorKind::Config, format!("cannot use {server}: {error}"))
        }
        _ => (ErrorKind::Unavailable, format!("{server}: {error}")),
    }
}

/// Returns what to do about a failed handshake.
fn bad_tls(error: &RedisError) -> Option<&'static str> {
    use std::error::Error as StdError;
    // The driver returns its `Arc` of the I/O error as the source, not the error itself.
    let source = error.source().and_then(|source| source.downcast_ref::<Arc<dyn StdError + Send + Sync>>());
    let source = source.and_then(|source| source.downcast_ref::<io::Error>());
    let source = source.filter(|source| source.kind() == io::ErrorKind::InvalidData)?;
    let of_tls = source.get_ref().and_then(|source| source.downcast_ref::<rustls::Error>());
    Some(match of_tls {
        // The first bytes of the server are no TLS.
        Some(rustls::Error::InvalidMessage(_)) => {
            "the port has no TLS; name the TLS port, or write redis:// in the URL"
        }
        _ => "name the server's CA with ca=/path.pem",
    })
}

/// Returns the kind of an error by the code of the reply, and a message with the remedy. Without a message, the reply itself is
/// shown.
fn by_code(call: Call<'_>, code: &str, text: &str) -> (ErrorKind, Option<String>) {
    let server = call.server;
    let said = |kind, message: String| (kind, Some(message));
    match code {
        "OOM" => said(
            ErrorKind::Unavailable,
            format!(
                "{server} has reached maxmemory and refuses writes; nothing was written; raise maxmemory on the server, \
                 or keep ended executions for a shorter time"
            ),
        ),
        "MISCONF" => said(
            ErrorKind::Unavailable,
            format!("{server} cannot write to its disk and refuses writes; nothing was written ({text})"),
        ),
        "NOREPLICAS" => said(
            ErrorKind::Unavailable,
            format!("{server} refuses writes because too few replicas follow it (min-replicas-to-write)"),
        ),
        "LOADING" => said(ErrorKind::Unavailable, format!("{server} is loading its data after a start")),
        "BUSY" => said(
            ErrorKind::Unavailable,
            format!("{server} is busy with a script of another client; SCRIPT KILL on the server ends it"),
        ),
        "READONLY" => said(
            ErrorKind::Unavailable,
            format!("{server} has become a replica and takes no writes; nothing was written"),
        ),
        "MOVED" | "ASK" | "TRYAGAIN" => said(
            ErrorKind::Unavailable,
            format!("the namespace moves to another node of {server} ({code} {text})"),
        ),
        "CLUSTERDOWN" | "MASTERDOWN" => said(
            ErrorKind::Unavailable,
            format!("{server} has no primary for the namespace at the moment ({text})"),
        ),
        "NOSCRIPT" => {
            said(ErrorKind::Unavailable, format!("{server} has lost a script that was just loaded"))
        }
        "UNKILLABLE" | "NOTBUSY" | "INPROG" | "IOERR" | "NOGOODSLAVE" | "NOMASTERLINK" => {
            (ErrorKind::Unavailable, None)
        }
        "EXECABORT" => said(
            ErrorKind::Unavailable,
            format!("{server} discarded a transaction; nothing was written ({text})"),
        ),
        "NOAUTH" => said(
            ErrorKind::Config,
            format!("{server} requires a login; add user:password@, or :password@, to the URL"),
        ),
        "WRONGPASS" => said(
            ErrorKind::Config,
            format!("{server} refuses the user or the password, or the user is disabled"),
        ),
        "NOPERM" => said(ErrorKind::Config, no_permission(call, text)),
        "DENIED" => said(
            ErrorKind::Config,
            format!(
                "{server} is in protected mode and refuses connections from outside; give it a password ({text})"
            ),
        ),
        "NOPROTO" => (ErrorKind::Config, None),
        "CROSSSLOT" => said(
            ErrorKind::Corrupt,
            format!("{server} places keys of one namespace on different slots ({text}){}", at_key(call)),
        ),
        // The link looks for the key, and names it instead.
        "WRONGTYPE" => said(
            ErrorKind::Corrupt,
            format!("{server} stores a value of another type than Stent's; another program wrote it"),
        ),
        // A reply of `apply.lua`, with the key.
        "FOREIGN" => said(
            ErrorKind::Corrupt,
            format!(
                "{server} stores a value under \"{text}\" that is not Stent's; another program wrote it; delete the key \
                 there"
            ),
        ),
        "ERR" => by_text(call, text),
        _ => (ErrorKind::Unavailable, None),
    }
}

/// Classifies errors with the general code `ERR` by their text.
fn by_text(call: Call<'_>, text: &str) -> (ErrorKind, Option<String>) {
    let server = call.server;
    let has = |part: &str| text.contains(part);
    if has("The user executing the script can't") || has("ACL failure in script") {
        return (ErrorKind::Config, Some(no_permission(call, text)));
    }
    if has("non local key") || has("while the cluster is down") {
        let message =
            format!("the namespace moves to another node of {server}, or its node is down ({text})");
        return (ErrorKind::Unavailable, Some(message));
    }
    if text.starts_with("max number of clients") {
        let message = format!(
            "{server} has as many clients as it takes (maxclients); raise maxclients on the server, or end clients that \
             nobody needs"
        );
        return (ErrorKind::Unavailable, Some(message));
    }
    if has("unknown command") || has("Unknown subcommand") || has("unknown subcommand") {
        let message =
            format!("{server} does not have a command that Stent needs, or has renamed it ({text})");
        return (ErrorKind::Config, Some(message));
    }
    if has("DB index is out of range") || has("invalid DB index") {
        let message = format!("{server} does not have the database; raise databases on the server ({text})");
        return (ErrorKind::Config, Some(message));
    }
    if has("without any password configured") {
        let message =
            format!("{server} has no password; remove it from the URL, or set requirepass on the server");
        return (ErrorKind::Config, Some(message));
    }
    if has("cluster support disabled") {
        return (
            ErrorKind::Config,
            Some(format!("{server} is not a cluster; remove cluster=true from the URL")),
        );
    }
    if has("exceeds maximum allowed size") || has("invalid bulk length") || has("invalid multibulk length") {
        let message =
            format!("a request or a value is larger than {server} takes (proto-max-bulk-len) ({text})");
        return (ErrorKind::Limit, Some(message));
    }
    // A script fails in its own code only on data that no version of Stent writes.
    if has("user_script:") {
        let message = format!(
            "a script failed on {server}, on a value {} that another program wrote: {text}",
            in_namespace(call)
        );
        return (ErrorKind::Corrupt, Some(message));
    }
    (ErrorKind::Unavailable, None)
}

fn at_key(call: Call<'_>) -> String {
    call.key.map(|key| format!(" under {:?}", String::from_utf8_lossy(key))).unwrap_or_default()
}

/// Names the keys that a script may have used: it got only one of them.
fn in_namespace(call: Call<'_>) -> String {
    let key = call.key.map(String::from_utf8_lossy).unwrap_or_default();
    key.split_once("}:").map_or_else(String::new, |(namespace, _)| format!("under \"{namespace}}}:*\""))
}

/// Returns a message with the missing ACL rule: for keys, or for a command, which only some servers name.
fn no_permission(call: Call<'_>, text: &str) -> String {
    let server = call.server;
    if text.contains("key") {
        let key = call.key.map(String::from_utf8_lossy).unwrap_or_default();
        let namespace = key.split_once("}:").map_or("stent:{NAMESPACE", |(namespace, _)| namespace);
        return format!(
            "the user may not use all keys of the namespace on {server}; add the rule ~{namespace}}}:* with ACL SETUSER \
             ({text})"
        );
    }
    let named = text.split_once("to run the '").and_then(|(_, rest)| rest.split_once('\''));
    match named {
        Some((command, _)) => {
            format!("the user may not run {command} on {server}; add the rule +{command} with ACL SETUSER")
        }
        None => format!(
            "the user may not run a command that Stent's scripts use on {server}; add the rules +@read +@write with ACL \
             SETUSER ({text})"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: Call<'_> = Call { operation: "exchange", server: "h:6379/0", key: Some(b"stent:{a}:x") };

    /// Returns the driver's error for an error reply.
    fn replied(line: &str) -> RedisError {
        let value = redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).expect("it is the protocol");
        value.extract_error().expect_err("it is an error")
    }

    fn of(line: &str) -> (ErrorKind, String) {
        let error = failed(CALL, replied(line));
        (error.kind(), format!("{error:#}"))
    }

    #[test]
    fn failures_that_pass_are_transient() {
        for line in [
            "LOADING Redis is loading the dataset in memory",
            "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
            "READONLY You can't write against a read only replica.",
            "MOVED 3999 127.0.0.1:6381",
            "ASK 3999 127.0.0.1:6381",
            "TRYAGAIN Multiple keys request during rehashing of slot",
            "CLUSTERDOWN The cluster is down",
            "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
            "NOSCRIPT No matching script. Please use EVAL.",
            "UNKILLABLE Sorry the script already executed write commands against the dataset.",
            "NOREPLICAS Not enough good replicas to write.",
            "MISCONF Errors writing to the AOF file: No space left on device",
            "OOM command not allowed when used memory > 'maxmemory'.",
            "ERR max number of clients reached",
            "ERR Script attempted to access a non local key in a cluster node script: 1a, on @user_script:1.",
            "ERR upstream failure",
            "SOMETHING new",
        ] {
            let (kind, message) = of(line);
            assert_eq!(kind, ErrorKind::Unavailable, "{message}");
        }
    }

    #[test]
    fn a_full_memory_is_named_and_loses_nothing() {
        let said = "exchange: store is unavailable: h:6379/0 has reached maxmemory and refuses writes; nothing was written; \
                    raise maxmemory on the server, or keep ended executions for a shorter time";
        for line in [
            "OOM command not allowed when used memory > 'maxmemory'.",
            "OOM command not allowed when used memory > 'maxmemory'. script: 2b4f, on @user_script:1.",
            "ERR Error running script (call to f_2b4f): @user_script:1: -OOM command not allowed when used memory > \
             'maxmemory'.",
            "ERR Error running script (call to f_2b4f): @user_script:110: @user_script: 110: -OOM command not allowed when \
             used memory > 'maxmemory'.",
        ] {
            assert_eq!(of(line), (ErrorKind::Unavailable, said.to_owned()), "{line}");
        }
    }

    #[test]
    fn a_missing_permission_comes_with_its_rule() {
        for (line, said) in [
            ("NOPERM this user has no permissions to run the 'xadd' command", "add the rule +xadd with"),
            (
                "NOPERM User kim has no permissions to run the 'config|get' command",
                "add the rule +config|get with",
            ),
            (
                "NOPERM this user has no permissions to access one of the keys used as arguments",
                "~stent:{a}:*",
            ),
            ("NOPERM No permissions to access a key", "~stent:{a}:*"),
            (
                "ERR The user executing the script can't access at least one of the keys mentioned in the command \
                 arguments script: 73, on @user_script:1.",
                "~stent:{a}:*",
            ),
            (
                "ERR The user executing the script can't run this command or subcommand script: d9, on @user_script:1.",
                "+@read +@write",
            ),
            (
                "ERR ACL failure in script: User kim has no permissions to run the 'xadd' command script: on @user_script:1.",
                "add the rule +xadd with",
            ),
            (
                "ERR ACL failure in script: User kim has no permissions to access the 'x' key script: on @user_script:1.",
                "~stent:{a}:*",
            ),
        ] {
            let (kind, message) = of(line);
            assert_eq!(kind, ErrorKind::Config, "{message}");
            assert!(message.contains(said), "{message}");
        }
    }

    #[test]
    fn refusals_of_the_server_say_what_to_change() {
        for (line, said) in [
            ("NOAUTH Authentication required.", "requires a login; add user:password@"),
            (
                "WRONGPASS invalid username-password pair or user is disabled.",
                "refuses the user or the password",
            ),
            (
                "ERR AUTH <password> called without any password configured for the default user.",
                "has no password",
            ),
            ("ERR DB index is out of range", "raise databases"),
            ("ERR unknown command 'EVALSHA', with args beginning with:", "does not have a command"),
            ("ERR This instance has cluster support disabled", "remove cluster=true"),
            ("DENIED Redis is running in protected mode", "protected mode"),
        ] {
            let (kind, message) = of(line);
            assert_eq!(kind, ErrorKind::Config, "{message}");
            assert!(message.contains(said), "{message}");
        }
    }

    #[test]
    fn a_value_that_is_not_stents_is_corrupt() {
        let (kind, message) = of("WRONGTYPE Operation against a key holding the wrong kind of value");
        assert_eq!(kind, ErrorKind::Corrupt);
        assert!(message.contains("of another type than Stent's; another program wrote it"), "{message}");

        let (kind, message) = of("FOREIGN stent:{a}:lock");
        assert_eq!(kind, ErrorKind::Corrupt);
        assert!(message.contains("under \"stent:{a}:lock\" that is not Stent's"), "{message}");

        let wrapped = "ERR Error running script (call to f_1): @user_script: 7: WRONGTYPE Operation against a key \
                       holding the wrong kind of value";
        assert_eq!(of(wrapped).0, ErrorKind::Corrupt);
        let lua =
            "ERR user_script:1: attempt to perform arithmetic on a nil value script: d1, on @user_script:1.";
        let (kind, message) = of(lua);
        assert_eq!(kind, ErrorKind::Corrupt);
        assert!(message.contains("on a value under \"stent:{a}:*\" that another program wrote"), "{message}");
    }

    #[test]
    fn a_full_server_says_what_to_raise() {
        let (kind, message) = of("ERR max number of clients reached");
        assert_eq!(kind, ErrorKind::Unavailable);
        assert!(message.contains("raise maxclients on the server"), "{message}");
    }

    #[test]
    fn only_a_lost_reply_leaves_the_fate_of_a_call_open() {
        let lost = failed(CALL, io::Error::from(io::ErrorKind::BrokenPipe).into());
        let refused = failed(CALL, replied("OOM command not allowed when used memory > 'maxmemory'."));
        let never_sent = Error::new(ErrorKind::Unavailable, "claim").with_message("cannot connect");
        assert_eq!([&lost, &refused, &never_sent].map(is_unanswered), [true, false, false]);
    }

    #[test]
    fn a_call_without_a_reply_may_have_been_applied() {
        for (kind, said) in [
            (
                io::ErrorKind::TimedOut,
                "did not reply within response_timeout; the call may have been applied",
            ),
            (io::ErrorKind::BrokenPipe, "lost the connection to h:6379/0"),
            (io::ErrorKind::ConnectionReset, "the call may have been applied"),
        ] {
            let error = failed(CALL, io::Error::from(kind).into());
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
            assert!(error.to_string().contains(said), "{error}");
        }
    }

    #[test]
    fn only_a_moved_namespace_is_asked_for_again() {
        for (line, expected) in [
            ("MOVED 1 h:1", Verdict::Redirect),
            // The node that imports the slot does not have all rows of the namespace yet.
            ("ASK 1 h:1", Verdict::Keep),
            ("TRYAGAIN Multiple keys request during rehashing of slot", Verdict::Keep),
            ("READONLY You can't write against a read only replica.", Verdict::Replace),
            ("CLUSTERDOWN Hash slot not served", Verdict::Replace),
            ("NOAUTH Authentication required.", Verdict::Replace),
            ("ERR max number of clients reached", Verdict::Replace),
            ("OOM command not allowed", Verdict::Keep),
            ("LOADING Redis is loading the dataset in memory", Verdict::Keep),
            ("BUSY Redis is busy running a script.", Verdict::Keep),
        ] {
            assert_eq!(verdict(&replied(line)), expected, "{line}");
        }
        assert_eq!(verdict(&io::Error::from(io::ErrorKind::TimedOut).into()), Verdict::Replace);
        assert_eq!(verdict(&io::Error::from(io::ErrorKind::BrokenPipe).into()), Verdict::Replace);
    }

    #[test]
    fn a_reply_of_another_type_is_corrupt() {
        let typed = redis::from_redis_value::<i64>(redis::Value::Okay).expect_err("no number");
        let error = unexpected(CALL, typed);
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        let said = "exchange: store is corrupt: h:6379/0 sent another type of reply than expected under \"stent:{a}:x\"";
        assert_eq!(format!("{error:#}"), said);
    }
}
