//! What is being asked of the STS, and who waits for the answers: each question once, however many wait
//! for it, and no more of either than is bounded. No host here: whoever uses this makes the calls.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
};

struct UnderWay<W> {
    call: Option<u32>,
    waiting: Vec<W>,
}

/// Questions `Q`, told apart by `K`, for which requests `W` wait.
pub struct Questions<K, Q, W> {
    under_way: HashMap<K, UnderWay<W>>,
    queue: VecDeque<(K, Q)>,
    waiting: usize,
    most_under_way: usize,
    most_waiting: usize,
}

impl<K: Clone + Eq + Hash, Q, W> Questions<K, Q, W> {
    /// At most so many questions under way, and so many that wait for them.
    pub fn new(most_under_way: usize, most_waiting: usize) -> Self {
        Self {
            under_way: HashMap::new(),
            queue: VecDeque::new(),
            waiting: 0,
            most_under_way,
            most_waiting,
        }
    }

    /// Lets `waiter` wait for the answer to a question.
    ///
    /// # Errors
    /// The waiter, if too many wait or too much is asked.
    pub fn wait(&mut self, key: K, question: Q, waiter: W) -> Result<(), W> {
        if self.waiting >= self.most_waiting || !self.ask(key.clone(), question) {
            return Err(waiter);
        }
        match self.under_way.get_mut(&key) {
            Some(under_way) => {
                under_way.waiting.push(waiter);
                self.waiting += 1;
                Ok(())
            }
            None => Err(waiter),
        }
    }

    /// Asks a question for which nobody waits yet. Whether it is being asked.
    pub fn ask(&mut self, key: K, question: Q) -> bool {
        if self.under_way.contains_key(&key) {
            return true;
        }
        if self.under_way.len() >= self.most_under_way {
            return false;
        }
        let nobody = UnderWay {
            call: None,
            waiting: Vec::new(),
        };
        self.under_way.insert(key.clone(), nobody);
        self.queue.push_back((key, question));
        true
    }

    /// Whether there is something to be sent.
    pub fn has_any(&self) -> bool {
        !self.queue.is_empty()
    }

    /// The next question to be sent.
    pub fn take(&mut self) -> Option<(K, Q)> {
        self.queue.pop_front()
    }

    /// A question was sent, and its answer comes under this number.
    pub fn sent(&mut self, key: &K, call: u32) {
        if let Some(under_way) = self.under_way.get_mut(key) {
            under_way.call = Some(call);
        }
    }

    /// Which question the answer `call` is to.
    pub fn asked(&self, call: u32) -> Option<K> {
        self.under_way
            .iter()
            .find(|(_, under_way)| under_way.call == Some(call))
            .map(|(key, _)| key.clone())
    }

    /// The answer is there: who waited for it.
    pub fn answered(&mut self, key: &K) -> Vec<W> {
        let waiting = self
            .under_way
            .remove(key)
            .map(|under_way| under_way.waiting)
            .unwrap_or_default();
        self.waiting -= waiting.len();
        waiting
    }

    /// Lets go of those who do not wait any more.
    pub fn forget(&mut self, gone: impl Fn(&W) -> bool) {
        for under_way in self.under_way.values_mut() {
            let before = under_way.waiting.len();
            under_way.waiting.retain(|waiter| !gone(waiter));
            self.waiting -= before - under_way.waiting.len();
        }
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.waiting
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_asked_once_however_many_wait_and_both_are_bounded() {
        let mut questions = Questions::new(2, 5);
        for waiter in 0..3 {
            assert_eq!(questions.wait("a", 1, waiter), Ok(()));
        }
        assert_eq!(questions.wait("b", 2, 3), Ok(()));
        assert_eq!(questions.wait("c", 3, 4), Err(4), "too much is asked");
        assert_eq!(questions.wait("b", 2, 4), Ok(()));
        assert_eq!(questions.wait("b", 2, 5), Err(5), "too many wait");
        assert_eq!(
            (questions.take(), questions.take()),
            (Some(("a", 1)), Some(("b", 2)))
        );
        assert_eq!((questions.take(), questions.has_any()), (None, false));
        questions.sent(&"a", 10);
        questions.sent(&"b", 11);
        questions.sent(&"c", 12);
        assert_eq!(
            (questions.asked(10), questions.asked(12)),
            (Some("a"), None)
        );
        questions.forget(|waiter| *waiter == 1);
        assert_eq!(questions.waiting(), 4);
        assert_eq!(questions.answered(&"a"), [0, 2]);
        assert_eq!(questions.answered(&"a"), [0; 0]);
        assert_eq!((questions.waiting(), questions.asked(10)), (2, None));
        assert_eq!(questions.wait("c", 3, 6), Ok(()));
    }
}
