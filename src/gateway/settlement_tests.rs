use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn settlement(oldest: u64) -> Settlement {
    let mut settlement = Settlement::default();
    settlement.raise(MessageId(oldest));
    settlement
}

fn answer(settlement: &mut Settlement, ids: impl IntoIterator<Item = u64>) {
    ids.into_iter().for_each(|id| settlement.answered(MessageId(id)));
}

#[test]
fn what_is_told_goes_up_to_the_first_id_without_an_answer_and_is_told_once() {
    let mut outbox = settlement(5);
    assert_eq!(outbox.tell(), None, "the client knows what it said itself");
    answer(&mut outbox, [7, 6]);
    assert_eq!(outbox.tell(), None, "5 blocks");
    answer(&mut outbox, [5]);
    assert_eq!((outbox.tell(), outbox.tell()), (Some(MessageId(7)), None));
    assert_eq!(outbox.through(), MessageId(7));
}

#[test]
fn what_has_no_answer_blocks_until_the_client_gives_it_up() {
    let mut outbox = settlement(1);
    answer(&mut outbox, [1, 3, 4]);
    assert_eq!(outbox.tell(), Some(MessageId(1)));
    outbox.raise(MessageId(3));
    assert_eq!(outbox.tell(), Some(MessageId(4)));
    outbox.raise(MessageId(2));
    assert_eq!(outbox.oldest(), MessageId(3), "nothing is taken back");
}

#[test]
fn an_answer_from_below_or_beyond_the_window_counts_for_nothing() {
    let mut outbox = settlement(10);
    answer(&mut outbox, [9, 10 + WINDOW, u64::MAX, 0]);
    assert_eq!((outbox.tell(), outbox.ahead.clone()), (None, Ahead::Near(0)));
}

#[test]
fn ids_outside_the_window_are_refused() {
    let outbox = settlement(10);
    assert_eq!(outbox.admit(MessageId(9), None), Err(Unfit::Stale));
    assert_eq!(outbox.admit(MessageId(10), None), Ok(()));
    assert_eq!(outbox.admit(MessageId(9 + WINDOW), None), Ok(()));
    assert_eq!(outbox.admit(MessageId(10 + WINDOW), None), Err(Unfit::Beyond));
    let last = settlement(u64::MAX);
    assert_eq!(last.admit(MessageId(u64::MAX), None), Ok(()));
}

#[test]
fn a_message_runs_only_after_the_one_before_it() {
    let mut outbox = settlement(5);
    let admit = |outbox: &Settlement, id, after| outbox.admit(MessageId(id), Some(MessageId(after)));
    assert_eq!(admit(&outbox, 7, 0), Ok(()), "none is before it");
    assert_eq!(admit(&outbox, 7, 4), Ok(()), "the client itself has settled it");
    assert_eq!(admit(&outbox, 7, 5), Err(Unfit::Behind));
    answer(&mut outbox, [6]);
    assert_eq!(admit(&outbox, 7, 6), Ok(()), "5 need not be answered for that");
    assert_eq!(admit(&outbox, 7, 5), Err(Unfit::Behind));
    answer(&mut outbox, [5]);
    assert_eq!(admit(&outbox, 7, 5), Ok(()));
    for impossible in [7, 8, u64::MAX] {
        assert_eq!(admit(&outbox, 7, impossible), Err(Unfit::Behind));
    }
}

#[test]
fn a_client_without_an_outbox_is_told_nothing_and_refused_nothing_but_an_order_that_nobody_can_know() {
    let mut none = Settlement::default();
    answer(&mut none, [1, 2]);
    assert_eq!((none.tell(), none.through()), (None, MessageId(0)));
    for id in [0, 1, u64::MAX] {
        assert_eq!(none.admit(MessageId(id), None), Ok(()));
    }
    assert_eq!(none.admit(MessageId(2), Some(MessageId(1))), Err(Unfit::Behind));
}

#[test]
fn a_long_list_is_given_back_when_it_is_short_again() {
    let mut outbox = settlement(1);
    answer(&mut outbox, 2..=WINDOW);
    assert!(matches!(outbox.ahead, Ahead::Far(_)));
    answer(&mut outbox, [1]);
    assert_eq!((outbox.tell(), outbox.ahead.clone()), (Some(MessageId(WINDOW)), Ahead::Near(0)));
}

#[test]
fn the_largest_numbers_overflow_nothing() {
    let mut outbox = settlement(u64::MAX - 1);
    answer(&mut outbox, [u64::MAX, u64::MAX - 1]);
    assert_eq!(outbox.tell(), Some(MessageId(u64::MAX)));
    assert_eq!(outbox.admit(MessageId(u64::MAX), Some(MessageId(u64::MAX - 1))), Ok(()));
    outbox.raise(MessageId(u64::MAX));
    assert_eq!(outbox.tell(), None);
}

/// The same in sets: slow, and obviously right.
#[derive(Default)]
struct Model {
    oldest: u64,
    answered: BTreeSet<u64>,
}

impl Model {
    fn through(&self) -> u64 {
        (self.oldest..).take_while(|id| self.answered.contains(id)).last().unwrap_or(self.oldest.saturating_sub(1))
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Raise(u64),
    Answer(u64),
    Ask(u64, u64),
    Tell,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        1 => (0..3000_u64).prop_map(Step::Raise),
        2 => (0..80_u64).prop_map(Step::Raise),
        8 => (0..1100_u64).prop_map(Step::Answer),
        8 => (0..80_u64).prop_map(Step::Answer),
        3 => (0..1100_u64, 0..1100_u64).prop_map(|(id, after)| Step::Ask(id, after)),
        3 => Just(Step::Tell),
    ];
    prop::collection::vec(step, 1..200)
}

proptest! {
    #[test]
    fn it_agrees_with_sets_and_never_covers_an_id_without_an_answer(first in 1..2000_u64, steps in steps()) {
        let (mut outbox, mut model) = (settlement(first), Model { oldest: first, ..Model::default() });
        let mut told = 0;
        for step in steps {
            match step {
                // Numbers are relative, so that most of them mean something.
                Step::Raise(by) => {
                    let to = (model.oldest + by).saturating_sub(20);
                    outbox.raise(MessageId(to));
                    model.oldest = model.oldest.max(to);
                }
                Step::Answer(at) => {
                    let id = (model.oldest + at).saturating_sub(10);
                    outbox.answered(MessageId(id));
                    if id >= model.oldest && id < model.oldest + WINDOW {
                        model.answered.insert(id);
                    }
                }
                Step::Ask(id, after) => {
                    let (id, after) = (model.oldest + id, (model.oldest + after).saturating_sub(10));
                    let is_past = after < model.oldest || model.answered.contains(&after);
                    let expected = match () {
                        () if id >= model.oldest + WINDOW => Err(Unfit::Beyond),
                        () if after >= id || !is_past => Err(Unfit::Behind),
                        () => Ok(()),
                    };
                    prop_assert_eq!(outbox.admit(MessageId(id), Some(MessageId(after))), expected);
                }
                Step::Tell => {
                    if let Some(news) = outbox.tell() {
                        prop_assert!(news.0 > told, "the same twice");
                        prop_assert!((model.oldest..=news.0).all(|id| model.answered.contains(&id)));
                        told = news.0;
                    }
                }
            }
            prop_assert_eq!(outbox.through().0, model.through());
        }
    }
}
