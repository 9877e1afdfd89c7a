//! What may travel together: everything that is ready, up to a size that keeps one message from holding up the rest.

use std::collections::VecDeque;

/// Payload bytes after which a batch is closed.
const BATCH_BYTES: usize = 256 * 1024;
/// Calls or answers after which a batch is closed.
const BATCH_ITEMS: usize = 1024;
/// The largest payload that a service may answer with, in bytes: the client protocol cannot carry more.
pub(crate) const MAX_PAYLOAD_BYTES: usize = (1 << 24) - 1;
/// The largest message that either side accepts, in bytes: a batch that one largest payload has just closed, and room
/// for names.
pub(crate) const MAX_MESSAGE_BYTES: usize = MAX_PAYLOAD_BYTES + 4 * BATCH_BYTES;

/// Takes the next batch from the front of `ready`: at least one item unless it is empty.
pub(crate) fn take_batch<T>(ready: &mut VecDeque<T>, payload_bytes: impl Fn(&T) -> usize) -> Vec<T> {
    let mut bytes = 0;
    let fits = |item: &T| {
        let fits = bytes < BATCH_BYTES;
        bytes += payload_bytes(item);
        fits
    };
    let items = ready.iter().take(BATCH_ITEMS).map(fits).take_while(|&fits| fits).count();
    ready.drain(..items).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_ends_at_its_size_but_is_never_empty() {
        let mut ready: VecDeque<usize> = [MAX_PAYLOAD_BYTES, 1, BATCH_BYTES - 1, 7].into();
        assert_eq!(take_batch(&mut ready, |&bytes| bytes), [MAX_PAYLOAD_BYTES]);
        assert_eq!(take_batch(&mut ready, |&bytes| bytes), [1, BATCH_BYTES - 1]);
        assert_eq!(take_batch(&mut ready, |&bytes| bytes), [7]);
        assert!(take_batch(&mut ready, |&bytes| bytes).is_empty());
    }

    #[test]
    fn a_batch_ends_at_its_number_of_items() {
        let mut ready: VecDeque<usize> = vec![0; BATCH_ITEMS + 1].into();
        assert_eq!(take_batch(&mut ready, |&bytes| bytes).len(), BATCH_ITEMS);
        assert_eq!(take_batch(&mut ready, |&bytes| bytes).len(), 1);
    }
}
