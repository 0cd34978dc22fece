//! Orders of a person's on their way to the main loop, which alone claims jobs and knows whose attempt is to stop.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};

use crate::job::steer::{Order, Selection, Steered};
use crate::store::StoreError;

/// Orders that may wait at once.
const WAITING_MAX: usize = 64;

/// What takes orders to one engine. Clones are of the same.
#[derive(Clone, Default)]
pub struct Orders(Arc<State>);

#[derive(Default)]
struct State {
    waiting: Mutex<Waiting>,
    news: Notify,
}

#[derive(Default)]
struct Waiting {
    orders: VecDeque<GivenOrder>,
    is_over: bool,
}

/// An order, and who waits for what becomes of it.
pub(super) struct GivenOrder {
    pub(super) order: Order,
    pub(super) selection: Selection,
    pub(super) reply: oneshot::Sender<Result<Steered, StoreError>>,
}

impl Orders {
    /// Has the engine carry out an order, and answers what became of it once that is committed. Nothing where the engine ends, or has
    /// too many orders already: then nothing is known to have happened.
    pub async fn give(&self, order: Order, selection: Selection) -> Option<Result<Steered, StoreError>> {
        let (reply, answer) = oneshot::channel();
        {
            let mut waiting = self.waiting();
            if waiting.is_over || waiting.orders.len() >= WAITING_MAX {
                return None;
            }
            waiting.orders.push_back(GivenOrder { order, selection, reply });
        }
        self.0.news.notify_one();
        answer.await.ok()
    }

    /// The order that has waited longest.
    pub(super) fn next(&self) -> Option<GivenOrder> {
        self.waiting().orders.pop_front()
    }

    /// Resolves when there is an order.
    pub(super) async fn news(&self) {
        self.0.news.notified().await;
    }

    /// Nobody carries out orders any more.
    pub fn end(&self) {
        let mut waiting = self.waiting();
        waiting.is_over = true;
        waiting.orders.clear();
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_gives_an_order_hears_when_nobody_will_carry_it_out() {
        let orders = Orders::default();
        let given = orders.clone();
        let giving = tokio::spawn(async move { given.give(Order::Pause, Selection::default()).await });
        orders.news().await;
        orders.end();
        assert!(giving.await.unwrap().is_none() && orders.next().is_none());
        assert!(orders.give(Order::Pause, Selection::default()).await.is_none());
    }

    #[tokio::test]
    async fn too_many_orders_at_once_are_refused() {
        let orders = Orders::default();
        let giving: Vec<_> = (0..WAITING_MAX)
            .map(|_| {
                let given = orders.clone();
                tokio::spawn(async move { given.give(Order::Retry, Selection::default()).await })
            })
            .collect();
        while orders.waiting().orders.len() < WAITING_MAX {
            tokio::task::yield_now().await;
        }
        assert!(orders.give(Order::Retry, Selection::default()).await.is_none());
        while let Some(order) = orders.next() {
            order.reply.send(Ok(Steered::default())).unwrap();
        }
        for giving in giving {
            assert!(giving.await.unwrap().is_some_and(|answer| answer.is_ok()));
        }
    }
}
