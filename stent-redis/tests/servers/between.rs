//! A proxy in front of a server that runs a test's code before it forwards a command, so that tests choose what happens between two
//! commands of a store.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use stent_redis::RedisOptions;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};

use crate::server::Server;

/// Whether a command goes on to the server, or its connection ends instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    Forward,
    Close,
}

type Hook = Arc<dyn Fn(Vec<Vec<u8>>) -> Pin<Box<dyn Future<Output = Then> + Send>> + Send + Sync>;

/// Starts the proxy. Returns options for a store behind it, with the namespace of [`Server::options`].
pub(crate) async fn between<F, A>(server: &Server, hook: F) -> RedisOptions
where
    F: Fn(Vec<Vec<u8>>) -> A + Send + Sync + 'static,
    A: Future<Output = Then> + Send + 'static,
{
    let hook: Hook = Arc::new(move |words| Box::pin(hook(words)));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
    let port = listener.local_addr().expect("it is bound").port();
    let to = server.port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(talk(client, to, Arc::clone(&hook)));
        }
    });
    RedisOptions::server("127.0.0.1", port).namespace("test").response_timeout(Duration::from_secs(30))
}

/// Forwards the commands of one connection until one of them closes it.
async fn talk(client: TcpStream, to: u16, hook: Hook) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", to)).await else { return };
    let ((from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let replies = tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
    let mut commands = BufReader::new(from_client);
    while let Some(words) = command(&mut commands).await {
        if hook(words.clone()).await == Then::Close {
            break;
        }
        let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            bytes.extend(format!("${}\r\n", word.len()).into_bytes());
            bytes.extend(word);
            bytes.extend(b"\r\n");
        }
        if to_server.write_all(&bytes).await.is_err() {
            break;
        }
    }
    replies.abort();
}

/// Reads a command: the number of its words, then each word after its length.
async fn command(stream: &mut BufReader<OwnedReadHalf>) -> Option<Vec<Vec<u8>>> {
    let count = number(stream).await?;
    let mut words = Vec::with_capacity(count);
    for _ in 0..count {
        let mut word = vec![0; number(stream).await? + 2];
        stream.read_exact(&mut word).await.ok()?;
        word.truncate(word.len() - 2);
        words.push(word);
    }
    Some(words)
}

async fn number(stream: &mut BufReader<OwnedReadHalf>) -> Option<usize> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    line.trim_end().get(1..)?.parse().ok()
}

/// Returns the mode of a call of `apply.lua`, if the command is one.
pub(crate) fn mode(words: &[Vec<u8>]) -> Option<&str> {
    match words {
        [script, _, _, _, mode, ..] if script == b"EVALSHA" => {
            let mode = std::str::from_utf8(mode).ok()?;
            ["write", "stage", "decide", "advance"].contains(&mode).then_some(mode)
        }
        _ => None,
    }
}
