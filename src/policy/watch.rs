//! Follows a policy on disk: whatever way its files are replaced, a sound policy comes into force within seconds, and a
//! half-written or faulty one never does.
//!
//! Directories are watched, not files: a rename or the symbolic-link swap of a mounted config map leaves a watched file
//! behind. Events only say "look now"; what counts is a hash of the content. A slow poll covers what sends no event: a
//! link's target in another directory, a network file system, an event queue that ran over.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use notify::{
    EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode},
};
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval, sleep},
};

use super::{
    fault::Faults,
    source::Sources,
    store::{Applied, PolicyStore},
    table::Revision,
};
use crate::clock;

/// How long a new content must stay the same before it is taken in: an editor that truncates and then writes leaves an
/// empty file behind for a moment, which would be a valid policy if it held a comment.
const SETTLE: Duration = Duration::from_millis(200);
/// A file that changes at each of this many looks in a row is left to the next poll.
const SETTLE_LOOKS: usize = 10;
/// How often the files are read without any event.
const POLL: Duration = Duration::from_secs(2);

/// What a look at the files found; equal if there is nothing new.
type Look = Result<Revision, Faults>;

/// Takes every change of the store's files in, and logs those that are refused, each content once. Never ends by itself;
/// drop the future to stop. A store without a path is waited for in vain.
pub async fn follow(store: Arc<PolicyStore>) {
    let Some(path) = store.path().map(Path::to_owned) else { return std::future::pending().await };
    let (wake, mut woken) = mpsc::channel(1);
    let mut watcher = Directories::new(&path, wake);
    let mut poll = interval(POLL);
    poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen: Look = Ok(store.current().revision);
    loop {
        tokio::select! {
            // Events come in swarms; one look after the swarm is enough.
            Some(()) = woken.recv() => sleep(SETTLE).await,
            _ = poll.tick() => {}
        }
        let Some((look, read)) = settled(&path, &seen).await else { continue };
        seen = look;
        report(&path, &store.apply(read, clock::unix_millis()));
        watcher.renew();
    }
}

/// The files' content if it is not what was seen before and two looks in a row agree on it.
async fn settled(path: &Path, seen: &Look) -> Option<(Look, Result<Sources, Faults>)> {
    let (mut look, _) = read(path).await;
    for _ in 0..SETTLE_LOOKS {
        if look == *seen {
            return None;
        }
        sleep(SETTLE).await;
        let (next, sources) = read(path).await;
        if next == look {
            return Some((next, sources));
        }
        look = next;
    }
    None
}

async fn read(path: &Path) -> (Look, Result<Sources, Faults>) {
    let path = path.to_owned();
    // A network file system may keep the reader waiting; that must not keep a runtime waiting.
    let read = tokio::task::spawn_blocking(move || Sources::read(&path));
    let sources = read.await.expect("reading files does not panic and is not aborted");
    let look = sources.as_ref().map(Sources::revision).map_err(Clone::clone);
    (look, sources)
}

fn report(path: &Path, outcome: &Result<Applied, Faults>) {
    let path = path.display();
    match outcome {
        Ok(Applied::Changed(revision)) => tracing::info!(%path, %revision, "a new policy is in force"),
        Ok(Applied::Unchanged) => tracing::info!(%path, "the files hold the policy in force again"),
        Err(faults) => tracing::error!(%path, "the policy is refused, the last good one stays in force\n{faults}"),
    }
}

/// The watched directories: the one that holds the policy, and the policy itself if it is one.
struct Directories {
    watcher: Option<RecommendedWatcher>,
    paths: Vec<PathBuf>,
}

impl Directories {
    fn new(path: &Path, wake: mpsc::Sender<()>) -> Self {
        let on_event = move |event: notify::Result<notify::Event>| {
            if event.map_or(true, |event| may_change_content(&event.kind)) {
                // Full means that a look is due already.
                let _ = wake.try_send(());
            }
        };
        let watcher = notify::recommended_watcher(on_event)
            .inspect_err(|error| tracing::warn!(%error, "no file events, the policy is polled"))
            .ok();
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut directories = Self { watcher, paths: vec![parent.to_owned()] };
        if path.is_dir() {
            directories.paths.push(path.to_owned());
        }
        directories.renew();
        directories
    }

    /// Watches the directories that now have these paths: a directory that was replaced is another one.
    fn renew(&mut self) {
        let Some(watcher) = &mut self.watcher else { return };
        for path in &self.paths {
            if let Err(error) = watcher.watch(path, RecursiveMode::NonRecursive) {
                tracing::warn!(path = %path.display(), %error, "no file events, the policy is polled");
            }
        }
    }
}

/// Reading the files makes events too; answering those would never end.
fn may_change_content(kind: &EventKind) -> bool {
    !matches!(kind, EventKind::Access(kind) if *kind != AccessKind::Close(AccessMode::Write))
}
