//! A control socket: accepts connections, passes each request to the control thread, and
//! writes its answer back. A thread a connection, few at a time, each with a deadline, so that
//! no client can hold the process up.

use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use mio::Waker;
use serde::de::DeserializeOwned;

use crate::control::Reply;

/// Connections served at once.
const CONNECTIONS_MAX: usize = 64;
/// Holders of `Server::open` that are no connections: the server and its thread.
const HOLDERS: usize = 2;
/// How long answers may take that are being written when the router ends.
const LAST_ANSWERS: Duration = Duration::from_millis(500);
/// How long to wait when no connection can be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a client may take to speak or listen, and the process to answer unless it says otherwise.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// How long a request may be, in octets, and how long its answer may take.
#[derive(Clone, Copy)]
struct Limits {
    longest: usize,
    patience: Duration,
}

/// A request, and where its answer goes.
pub type Call<R> = (R, Sender<Reply>);

/// The listening socket, for requests of one kind; removed from the file system when dropped.
pub struct Server<R> {
    path: PathBuf,
    /// Requests to be answered.
    pub calls: Receiver<Call<R>>,
    /// Held by every connection that is being served.
    open: Arc<()>,
}

impl<R: DeserializeOwned + Send + 'static> Server<R> {
    /// Listens at `path`, making its folder if there is none, for requests of up to `longest`
    /// octets, each answered within `patience`. `notify` wakes the control thread when there is a call.
    ///
    /// # Errors
    /// `AddrInUse` if another process answers there.
    pub fn listen(
        path: &Path,
        longest: usize,
        patience: Duration,
        notify: Arc<Waker>,
    ) -> io::Result<Server<R>> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let listener = match UnixListener::bind(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                remove_stale(path)?;
                UnixListener::bind(path)?
            }
            other => other?,
        };
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
        let (sender, calls) = bounded(CONNECTIONS_MAX);
        let thread = std::thread::Builder::new().name("control".into());
        let open = Arc::new(());
        let for_thread = Arc::clone(&open);
        let limits = Limits { longest, patience };
        // The thread ends with the process: nothing else can end an `accept`.
        thread.spawn(move || accept(&listener, limits, &sender, &notify, &for_thread))?;
        Ok(Server { path: path.to_owned(), calls, open })
    }
}

/// Removes the socket that a crash left, and nothing else.
fn remove_stale(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt;
    let refusal = |why: &str| Err(io::Error::new(io::ErrorKind::AddrInUse, why));
    if !std::fs::symlink_metadata(path)?.file_type().is_socket() {
        return refusal("it exists and is not a socket; choose another control socket");
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
        }
        _ => refusal("another process answers there; stop it or choose another control socket"),
    }
}

impl<R> Drop for Server<R> {
    fn drop(&mut self) {
        // The answer to the request that ended the process is still to be written.
        let deadline = Instant::now() + LAST_ANSWERS;
        while Arc::strong_count(&self.open) > HOLDERS && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the control socket");
        }
    }
}

fn accept<R: DeserializeOwned + Send + 'static>(
    listener: &UnixListener,
    limits: Limits,
    calls: &Sender<Call<R>>,
    notify: &Arc<Waker>,
    open: &Arc<()>,
) {
    for stream in listener.incoming() {
        let stream = match stream {
            Ok(stream) => stream,
            Err(error) => {
                // Most likely there are no descriptors left; some may be soon.
                tracing::warn!(%error, "cannot accept a control connection");
                std::thread::sleep(ACCEPT_PAUSE);
                continue;
            }
        };
        let slot = Arc::clone(open);
        if Arc::strong_count(open) > HOLDERS + CONNECTIONS_MAX {
            let _gone = answer(&stream, &Reply::Failed("too many connections".to_owned()));
            continue;
        }
        let (calls, notify) = (calls.clone(), Arc::clone(notify));
        let serve = move || {
            if let Err(error) = serve(&stream, limits, &calls, &notify) {
                tracing::debug!(%error, "a control connection failed");
            }
            drop(slot);
        };
        if let Err(error) = std::thread::Builder::new().name("connection".into()).spawn(serve) {
            tracing::warn!(%error, "cannot serve a control connection");
        }
    }
}

fn serve<R: DeserializeOwned>(
    stream: &UnixStream,
    limits: Limits,
    calls: &Sender<Call<R>>,
    notify: &Waker,
) -> io::Result<()> {
    let line = read_line(stream, limits.longest)?;
    let reply = match serde_json::from_slice(&line) {
        Err(error) => Reply::Failed(format!("not a request: {error}")),
        Ok(request) => call(request, limits.patience, calls, notify)
            .unwrap_or_else(|| Reply::Failed("no answer in time".to_owned())),
    };
    answer(stream, &reply)
}

/// Reads a line; all of it must come within one deadline, however small the pieces.
fn read_line(mut stream: &UnixStream, longest: usize) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + PATIENCE;
    let mut line = Vec::new();
    while !line.ends_with(b"\n") && line.len() < longest {
        let left = deadline.saturating_duration_since(Instant::now());
        // A timeout of 0 would mean none.
        stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        let mut piece = [0; 512];
        match stream.read(&mut piece)? {
            0 => break,
            length => line.extend(&piece[..length]),
        }
        if Instant::now() >= deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
    Ok(line)
}

fn answer(mut stream: &UnixStream, reply: &Reply) -> io::Result<()> {
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut text = serde_json::to_vec(reply)?;
    text.push(b'\n');
    stream.write_all(&text)
}

fn call<R>(
    request: R,
    patience: Duration,
    calls: &Sender<Call<R>>,
    notify: &Waker,
) -> Option<Reply> {
    let (sender, receiver) = bounded(1);
    calls.send_timeout((request, sender), PATIENCE).ok()?;
    notify.wake().ok()?;
    receiver.recv_timeout(patience).ok()
}
