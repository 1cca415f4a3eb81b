//! A fake server that counts scripts and replies as a test wants, to show that the link sends nothing twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use stent_redis::RedisOptions;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{new_id, open, write};

/// The fake server's reply to a script.
#[derive(Clone, Copy, Debug)]
enum Answer {
    /// The server closes the connection.
    Close,
    /// The server sends no reply.
    Silence,
    /// The server sends this reply.
    Reply(&'static str),
}

#[tokio::test]
async fn a_script_of_unknown_fate_is_not_sent_again() {
    for answer in [
        Answer::Close,
        Answer::Silence,
        Answer::Reply("-ASK 1 127.0.0.1:1"),
        Answer::Reply("-MOVED 1 127.0.0.1:1"),
        Answer::Reply("-READONLY You can't write against a read only replica."),
        Answer::Reply("-LOADING Redis is loading the dataset in memory"),
        Answer::Reply("-TRYAGAIN Multiple keys request during rehashing of slot"),
        Answer::Reply("not the protocol"),
    ] {
        let (options, scripts) = serve(answer).await;
        let store = open(&options).await;

        let error = write(&store, new_id()).await.expect_err("it fails");

        assert!(error.is_transient(), "{answer:?}: {error}");
        assert_eq!(scripts.load(Ordering::SeqCst), 1, "{answer:?}: {error}");
    }
}

#[tokio::test]
async fn a_script_that_the_server_does_not_have_is_loaded_and_sent_once_more() {
    let (options, scripts) = serve(Answer::Reply("-NOSCRIPT No matching script. Please use EVAL.")).await;
    let store = open(&options).await;

    let error = write(&store, new_id()).await.expect_err("it is lost again");

    assert!(
        error.is_transient() && error.to_string().contains("has lost a script that was just loaded"),
        "{error}"
    );
    assert_eq!(scripts.load(Ordering::SeqCst), 2);
}

/// Serves on a port of loopback, and counts scripts.
async fn serve(answer: Answer) -> (RedisOptions, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
    let port = listener.local_addr().expect("it is bound").port();
    let scripts = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&scripts);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(talk(stream, answer, Arc::clone(&counted)));
        }
    });
    let options = RedisOptions::server("127.0.0.1", port).response_timeout(Duration::from_millis(200));
    (options, scripts)
}

async fn talk(stream: TcpStream, answer: Answer, scripts: Arc<AtomicUsize>) {
    let mut stream = BufReader::new(stream);
    let mut hash = String::new();
    while let Some(words) = command(&mut stream).await {
        let info = "redis_version:7.0.15\r\nrole:master\r\naof_enabled:1\r\nmaxmemory_policy:noeviction\r\n";
        let reply = match words.first().map(String::as_str) {
            Some("INFO") => format!("${}\r\n{info}", info.len()),
            Some("CONFIG") => "*2\r\n$11\r\nappendfsync\r\n$6\r\nalways".to_owned(),
            Some("SCRIPT") => format!("${}\r\n{hash}", hash.len()),
            Some("XREVRANGE") => "*0".to_owned(),
            // No hint ever arrives.
            Some("XREAD") => continue,
            // The check of the user's rules.
            Some("EVALSHA") if words.iter().any(|word| word.ends_with(":probe")) => "*0".to_owned(),
            Some("EVALSHA") => {
                scripts.fetch_add(1, Ordering::SeqCst);
                hash.clone_from(&words[1]);
                match answer {
                    Answer::Close => return,
                    Answer::Silence => continue,
                    Answer::Reply(reply) => reply.to_owned(),
                }
            }
            _ => "+OK".to_owned(),
        };
        if stream.write_all(format!("{reply}\r\n").as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Reads a command: the number of its words, then each word after its length.
async fn command(stream: &mut BufReader<TcpStream>) -> Option<Vec<String>> {
    let count = number(stream).await?;
    let mut words = Vec::new();
    for _ in 0..count {
        let mut word = vec![0; number(stream).await? + 2];
        stream.read_exact(&mut word).await.ok()?;
        words.push(String::from_utf8_lossy(&word[..word.len() - 2]).into_owned());
    }
    Some(words)
}

async fn number(stream: &mut BufReader<TcpStream>) -> Option<usize> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    line.trim_end().get(1..)?.parse().ok()
}
