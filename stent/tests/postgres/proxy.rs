//! A proxy in front of a server that admits all clients, or refuses them with an error of its own.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use stent::sea_orm::sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::database::TestDatabase;

/// The code of a client's request for TLS, which it sends before it logs in.
const SSL_REQUEST: u32 = 80_877_103;

type Refusal = Option<(&'static str, &'static str)>;

#[derive(Debug)]
pub(crate) struct Proxy {
    url: String,
    refusal: watch::Sender<Refusal>,
    refused: Arc<AtomicU64>,
    silent: watch::Sender<bool>,
    listening: AbortHandle,
}

impl Proxy {
    pub(crate) async fn start(database: &TestDatabase) -> Self {
        let server: PgConnectOptions = database.url().parse().unwrap();
        let place = (server.get_host().to_owned(), server.get_port());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let url = database.url().replacen(
            &format!("{}:{}", server.get_host(), server.get_port()),
            &format!("127.0.0.1:{port}"),
            1,
        );
        assert!(url.contains(&port.to_string()), "the server's URL names its host and port: {url}");
        let (refusal, refused) = (watch::Sender::new(None), Arc::new(AtomicU64::new(0)));
        let (refuses, counts) = (refusal.clone(), refused.clone());
        let silent = watch::Sender::new(false);
        let silences = silent.clone();
        let listening = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let serving = serve(client, place.clone(), refuses.subscribe(), counts.clone());
                tokio::spawn(until_silent(serving, silences.subscribe()));
            }
        });
        Self { url, refusal, refused, silent, listening: listening.abort_handle() }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// From now on every connection, including open ones, ends with an error.
    pub(crate) fn turn_away(&self, code: &'static str, message: &'static str) {
        self.refused.store(0, Ordering::SeqCst);
        self.refusal.send_replace(Some((code, message)));
    }

    /// Waits until this many clients were refused.
    pub(crate) async fn turned_away(&self, count: u64) {
        while self.refused.load(Ordering::SeqCst) < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// From now on there are no answers, as if the host had disappeared silently. Open connections stay open forever and
    /// useless, even when new ones work again.
    pub(crate) fn fall_silent(&self) {
        self.silent.send_replace(true);
    }

    pub(crate) fn let_pass(&self) {
        self.silent.send_replace(false);
        self.refusal.send_replace(None);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn until_silent(serving: impl Future<Output = std::io::Result<()>>, mut silent: watch::Receiver<bool>) {
    tokio::pin!(serving);
    let is_silent = tokio::select! {
        biased;
        is_silent = silent.wait_for(|silent| *silent) => is_silent.is_ok(),
        _ = &mut serving => false,
    };
    if is_silent {
        // Both ends stay open.
        std::future::pending::<()>().await;
    }
}

async fn serve(
    mut client: TcpStream,
    server: (String, u16),
    mut refusal: watch::Receiver<Refusal>,
    refused: Arc<AtomicU64>,
) -> std::io::Result<()> {
    let turned_away = *refusal.borrow_and_update();
    if let Some((code, message)) = turned_away {
        refused.fetch_add(1, Ordering::SeqCst);
        if startup(&mut client).await? == SSL_REQUEST {
            client.write_all(b"N").await?;
            startup(&mut client).await?;
        }
        return client.write_all(&error(code, message)).await;
    }
    let mut server = TcpStream::connect(server).await?;
    let ended = tokio::select! {
        _ = copy_bidirectional(&mut client, &mut server) => None,
        ended = refusal.wait_for(Option::is_some) => ended.ok().and_then(|ended| *ended),
    };
    if let Some((code, message)) = ended {
        refused.fetch_add(1, Ordering::SeqCst);
        client.write_all(&error(code, message)).await?;
    }
    Ok(())
}

/// Reads a client's first message, and returns its code.
async fn startup(client: &mut TcpStream) -> std::io::Result<u32> {
    let length = client.read_u32().await?;
    let code = client.read_u32().await?;
    let mut rest = vec![0; length.saturating_sub(8) as usize];
    client.read_exact(&mut rest).await?;
    Ok(code)
}

/// An error message of the protocol that ends a connection.
fn error(code: &str, message: &str) -> Vec<u8> {
    let fields = format!("SFATAL\0VFATAL\0C{code}\0M{message}\0\0");
    let length = u32::try_from(fields.len() + 4).unwrap();
    [b"E", &length.to_be_bytes()[..], fields.as_bytes()].concat()
}
