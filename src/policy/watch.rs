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
    source::{Sources, unreadable},
    store::{Applied, PolicyStore},
    table::Revision,
};
use crate::clock;

/// How long a new content must stay the same before it is taken in: an editor that truncates and then writes leaves the
/// beginning of a file behind for a moment, which may be a valid policy.
const SETTLE: Duration = Duration::from_millis(200);
/// A file that changes at each of this many looks in a row is left to the next poll.
const SETTLE_LOOKS: usize = 10;
/// How often the files are read without any event.
const POLL: Duration = Duration::from_secs(2);

/// Takes every change of the store's files in, and logs those that are refused, each content once. Never ends by itself;
/// drop the future to stop. A store without a path is waited for in vain.
pub async fn follow(store: Arc<PolicyStore>) {
    follow_and_poll(store, POLL).await;
}

async fn follow_and_poll(store: Arc<PolicyStore>, every: Duration) {
    let Some(path) = store.path().map(Path::to_owned) else { return std::future::pending().await };
    let (wake, mut woken) = mpsc::channel(1);
    let mut directories = Directories::new(&path, wake);
    let mut follower = Follower::new(store, path);
    let mut poll = interval(every);
    poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick of an interval is due at once; the store has only just read the files.
    poll.reset();
    loop {
        tokio::select! {
            // Events come in swarms; one look after the swarm is enough.
            Some(()) = woken.recv() => sleep(SETTLE).await,
            _ = poll.tick() => {}
        }
        if let Some(outcome) = follower.look().await {
            follower.log(&outcome);
            directories.renew();
        }
    }
}

/// What reading the files gave; contents are told apart by their revision, failures to read by their words.
type Read = Result<Sources, Faults>;
type Content = Result<Revision, Faults>;

fn content(read: &Read) -> Content {
    read.as_ref().map(Sources::revision).map_err(Clone::clone)
}

struct Follower {
    store: Arc<PolicyStore>,
    path: PathBuf,
    /// The content that the store was given last.
    seen: Content,
}

impl Follower {
    fn new(store: Arc<PolicyStore>, path: PathBuf) -> Self {
        let seen = Ok(store.current().revision);
        Self { store, path, seen }
    }

    /// Looks at the files and gives the store what is new there, once it has settled.
    async fn look(&mut self) -> Option<Result<Applied, Faults>> {
        let new = settled(&self.seen, || read(self.path.clone())).await?;
        self.seen = content(&new);
        Some(self.store.apply(new, clock::unix_millis()))
    }

    fn log(&self, outcome: &Result<Applied, Faults>) {
        let path = self.path.display();
        match outcome {
            Ok(Applied::Changed(revision)) => tracing::info!(%path, %revision, "a new policy is in force"),
            Ok(Applied::Unchanged) => tracing::info!(%path, "the files hold the policy in force again"),
            Err(faults) => tracing::error!(%path, "policy refused, the last good one stays in force:\n{faults}"),
        }
    }
}

/// What the files hold if it is not what was seen before, once two reads in a row agree on it.
async fn settled<F>(seen: &Content, mut read: impl FnMut() -> F) -> Option<Read>
where
    F: Future<Output = Read>,
{
    let mut last = content(&read().await);
    for _ in 0..SETTLE_LOOKS {
        if last == *seen {
            return None;
        }
        sleep(SETTLE).await;
        let now = read().await;
        let found = content(&now);
        if found == last {
            return Some(now);
        }
        last = found;
    }
    None
}

/// Reads the files where a slow network file system keeps no runtime waiting.
async fn read(path: PathBuf) -> Read {
    let from = path.clone();
    let read = tokio::task::spawn_blocking(move || Sources::read(&from)).await;
    // Only a runtime that shuts down gives an error here.
    read.unwrap_or_else(|error| Err(unreadable(&path, &error.to_string())))
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

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, fs, os::unix::fs::symlink};

    use tempfile::TempDir;
    use tokio::time::timeout;

    use super::*;
    use crate::policy::Policy;

    /// Long enough for a busy machine; only a failing test waits for it.
    const PATIENCE: Duration = Duration::from_secs(30);
    /// Rules the poll out, so that only events can have woken the follower.
    const NEVER: Duration = Duration::from_secs(24 * 3600);

    fn text(max: usize) -> String {
        format!("[connections]\nmax = {max}\n")
    }

    fn max(store: &PolicyStore) -> usize {
        store.current().connections.max
    }

    /// A follower of `policy.toml` in a fresh directory.
    fn follower() -> (TempDir, PathBuf, Follower) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("policy.toml");
        fs::write(&path, text(1)).unwrap();
        let store = Arc::new(PolicyStore::open(&path, 0).unwrap());
        (directory, path.clone(), Follower::new(store, path))
    }

    /// Follows `path` by events alone, makes a change once events are on, and waits for it to come into force.
    async fn change_is_followed(path: &Path, change: impl FnOnce()) {
        let store = Arc::new(PolicyStore::open(path, 0).unwrap());
        let mut changes = store.subscribe();
        let following = tokio::spawn(follow_and_poll(Arc::clone(&store), NEVER));
        // On this runtime of one thread the follower runs up to its first wait, with its watches set.
        tokio::task::yield_now().await;
        change();
        timeout(PATIENCE, changes.wait_for(|policy| policy.connections.max == 2)).await.unwrap().unwrap();
        following.abort();
    }

    #[tokio::test]
    async fn a_file_renamed_over_the_policy_comes_into_force() {
        let (directory, path, _) = follower();
        let new = directory.path().join("policy.toml.new");
        change_is_followed(&path, || {
            fs::write(&new, text(2)).unwrap();
            fs::rename(&new, &path).unwrap();
        })
        .await;
    }

    #[tokio::test]
    async fn a_file_truncated_and_written_comes_into_force() {
        let (_directory, path, _) = follower();
        change_is_followed(&path, || {
            fs::File::create(&path).unwrap();
            fs::write(&path, text(2)).unwrap();
        })
        .await;
    }

    #[tokio::test]
    async fn a_config_map_that_swaps_its_link_comes_into_force() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for (version, max) in [("..1", 1), ("..2", 2)] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("policy.toml"), text(max)).unwrap();
        }
        symlink("..1", at("..data")).unwrap();
        symlink("..data/policy.toml", at("policy.toml")).unwrap();
        change_is_followed(&at("policy.toml"), || {
            symlink("..2", at("..data_tmp")).unwrap();
            fs::rename(at("..data_tmp"), at("..data")).unwrap();
        })
        .await;
    }

    #[tokio::test]
    async fn a_file_added_to_a_policy_directory_comes_into_force() {
        let (directory, _, _) = follower();
        let tier = directory.path().join("tiers.toml");
        fs::write(&tier, "[[tier]]\nname = \"all\"\nlevels = [0, 127]\n").unwrap();
        fs::write(directory.path().join("policy.toml"), "# nothing\n").unwrap();
        change_is_followed(directory.path(), || {
            fs::write(directory.path().join("connections.toml"), text(2)).unwrap();
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn without_events_the_poll_finds_the_change() {
        let (elsewhere, target, _) = follower();
        let directory = tempfile::tempdir().unwrap();
        let link = directory.path().join("policy.toml");
        symlink(elsewhere.path().join("policy.toml"), &link).unwrap();
        let store = Arc::new(PolicyStore::open(&link, 0).unwrap());
        let mut changes = store.subscribe();
        let following = tokio::spawn(follow(Arc::clone(&store)));
        tokio::task::yield_now().await;
        fs::write(&target, text(2)).unwrap();
        timeout(PATIENCE, changes.changed()).await.unwrap().unwrap();
        assert_eq!(max(&store), 2);
        following.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_bad_file_changes_nothing_and_is_reported_once() {
        let (_directory, path, mut follower) = follower();
        fs::write(&path, "[connections]\nmax = 0\n").unwrap();
        assert!(follower.look().await.unwrap().is_err());
        assert!(follower.look().await.is_none());
        assert_eq!(max(&follower.store), 1);
        let shown = follower.store.status().last_failure.unwrap().rendered;
        assert!(shown.contains("max must be from 1"), "{shown}");
        fs::write(&path, text(2)).unwrap();
        assert!(matches!(follower.look().await, Some(Ok(Applied::Changed(_)))));
        assert_eq!(follower.store.status().last_failure, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_is_gone_or_empty_changes_nothing() {
        let (_directory, path, mut follower) = follower();
        fs::remove_file(&path).unwrap();
        assert!(follower.look().await.unwrap().is_err());
        fs::write(&path, "\n").unwrap();
        assert!(follower.look().await.unwrap().is_err());
        assert_eq!(max(&follower.store), 1);
        fs::write(&path, text(1)).unwrap();
        assert_eq!(follower.look().await, Some(Ok(Applied::Unchanged)));
        assert_eq!(follower.store.status().last_failure, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_is_taken_in_only_when_two_reads_agree() {
        let seen = content(&Ok(Sources::from_text("p", "old")));
        let taken = async |texts: &[&str]| {
            let mut reads: VecDeque<_> = texts.iter().map(|text| Sources::from_text("p", *text)).collect();
            settled(&seen, || std::future::ready(Ok(reads.pop_front().unwrap()))).await
        };
        assert_eq!(taken(&["old"]).await, None);
        assert_eq!(taken(&["half", "whole", "whole"]).await, Some(Ok(Sources::from_text("p", "whole"))));
        assert_eq!(taken(&["half", "old"]).await, None);
        let restless: Vec<_> = (0..=SETTLE_LOOKS).map(|look| look.to_string()).collect();
        assert_eq!(taken(&restless.iter().map(String::as_str).collect::<Vec<_>>()).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_without_files_is_followed_in_vain() {
        let store = Arc::new(PolicyStore::new(Policy::built_in_chat(), 0));
        assert!(timeout(PATIENCE, follow(store)).await.is_err());
    }
}
