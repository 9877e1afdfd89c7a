//! What tests wait for.

use std::time::Duration;

/// Every wait ends after this time at the latest.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for `future`, but not for ever.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let Ok(output) = tokio::time::timeout(PATIENCE, future).await else { panic!("{what}: nothing after {PATIENCE:?}") };
    output
}

/// Waits until something is so, of which nobody is told.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let mut looks = tokio::time::interval(Duration::from_millis(5));
    within(what, async {
        while !is_so().await {
            looks.tick().await;
        }
    })
    .await;
}
