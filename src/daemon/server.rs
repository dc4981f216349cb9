//! The control socket: accepts connections, passes each request to the control thread, and
//! writes its answer back. A thread a connection, few at a time, each with a deadline, so that
//! no client can hold the router up.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use mio::Waker;

use crate::control::{REQUEST_LEN_MAX, Reply, Request};

/// Connections served at once.
const CONNECTIONS_MAX: usize = 16;
/// How long a client may take to speak or listen, and the router to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// A request, and where its answer goes.
pub(super) type Call = (Request, Sender<Reply>);

/// The listening socket; removed from the file system when dropped.
pub(super) struct Server {
    path: PathBuf,
    /// Requests to be answered.
    pub(super) calls: Receiver<Call>,
}

impl Server {
    /// Listens at `path`, making its folder if there is none. `notify` wakes the control thread
    /// when there is a call.
    ///
    /// # Errors
    /// `AddrInUse` if another process answers there.
    pub(super) fn listen(path: &Path, notify: Arc<Waker>) -> io::Result<Server> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let listener = match UnixListener::bind(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                if UnixStream::connect(path).is_ok() {
                    return Err(error);
                }
                // Nobody listens there any more: a crash left it.
                std::fs::remove_file(path)?;
                UnixListener::bind(path)?
            }
            other => other?,
        };
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
        let (sender, calls) = bounded(CONNECTIONS_MAX);
        let thread = std::thread::Builder::new().name("control".into());
        // The thread ends with the process: nothing else can end an `accept`.
        thread.spawn(move || accept(&listener, &sender, &notify))?;
        Ok(Server { path: path.to_owned(), calls })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the control socket");
        }
    }
}

fn accept(listener: &UnixListener, calls: &Sender<Call>, notify: &Arc<Waker>) {
    let open = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming().flatten() {
        if open.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS_MAX {
            open.fetch_sub(1, Ordering::Relaxed);
            continue; // closes it
        }
        let (calls, notify, open) = (calls.clone(), Arc::clone(notify), Arc::clone(&open));
        let serve = move || {
            if let Err(error) = serve(stream, &calls, &notify) {
                tracing::debug!(%error, "a control connection failed");
            }
            open.fetch_sub(1, Ordering::Relaxed);
        };
        if let Err(error) = std::thread::Builder::new().name("connection".into()).spawn(serve) {
            tracing::warn!(%error, "cannot serve a control connection");
        }
    }
}

fn serve(stream: UnixStream, calls: &Sender<Call>, notify: &Waker) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    BufReader::new((&stream).take(REQUEST_LEN_MAX)).read_line(&mut line)?;
    let reply = match serde_json::from_str(&line) {
        Err(error) => Reply::Failed(format!("not a request: {error}")),
        Ok(request) => call(request, calls, notify)
            .unwrap_or_else(|| Reply::Failed("the router does not answer".to_owned())),
    };
    let mut text = serde_json::to_vec(&reply)?;
    text.push(b'\n');
    (&stream).write_all(&text)
}

fn call(request: Request, calls: &Sender<Call>, notify: &Waker) -> Option<Reply> {
    let (sender, receiver) = bounded(1);
    calls.send_timeout((request, sender), PATIENCE).ok()?;
    notify.wake().ok()?;
    receiver.recv_timeout(PATIENCE).ok()
}
