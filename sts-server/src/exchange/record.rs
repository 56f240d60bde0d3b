//! What exchanges leave, written down together: those that come to their end while others are being written
//! share the next turn. A turn costs the database several times what an event in it does.

use std::{
    collections::{BTreeMap, BTreeSet},
    slice,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use authority::{
    audit::Event,
    ids::{KeyId, ZoneId},
    mandate::Claims,
    revocation::{Anchor, anchors},
};
use tokio::sync::oneshot;

use super::{client::Party, standing::denied};
use crate::{
    clock::Moment,
    error::{Code, Error, Result},
    revocations::first_in_force,
    store::{
        self, AuthorityRecord, Change, ExchangeRows, LedgerHead, PolicyInputRow, RevocationRow,
        Store, StoreError, Zone,
    },
};

/// Most exchanges of one turn.
const MOST_TOGETHER: usize = 64;
/// Most that wait for theirs.
const MOST_WAITING: usize = 4_096;

/// What an exchange leaves.
pub(crate) struct Exchange {
    pub(super) event: Event,
    /// The event in canonical form, made by whoever asked and not while others wait for their turn.
    pub(super) text: String,
    /// Of a mint: its record, and on what it rests.
    pub(super) mint: Option<(AuthorityRecord, Grounds)>,
    /// What the policy was asked.
    pub(super) inputs: Arc<Vec<PolicyInputRow>>,
}

/// On what a mint rests.
pub(super) struct Grounds {
    pub(super) zone: Zone,
    pub(super) party: Party,
    /// Of the mandate.
    pub(super) claims: Claims,
    /// Of the mandate.
    pub(super) kid: KeyId,
}

type Outcome = Result<LedgerHead>;

/// Those that wait for their turn, and whether somebody is at it.
#[derive(Default)]
struct Queue {
    waiting: Vec<(Exchange, oneshot::Sender<Outcome>)>,
    is_served: bool,
}

/// Writes down exchanges, and refuses mints whose grounds are gone by then.
#[derive(Default)]
pub(crate) struct Recorder(Arc<Mutex<Queue>>);

impl Recorder {
    /// Writes it down, durably, or refuses it. Once it waits for that it happens, whether or not anybody waits
    /// for the outcome.
    pub(super) async fn record(&self, store: &Store, exchange: Exchange) -> Outcome {
        let (done, outcome) = oneshot::channel();
        let serves = {
            let mut queue = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if queue.waiting.len() >= MOST_WAITING {
                return Err(StoreError::Busy.into());
            }
            queue.waiting.push((exchange, done));
            !std::mem::replace(&mut queue.is_served, true)
        };
        if serves {
            let served = Served {
                queue: Arc::clone(&self.0),
                is_over: false,
            };
            tokio::spawn(serve(served, store.clone()));
        }
        outcome
            .await
            .unwrap_or_else(|_| Err(Error::internal("whoever writes exchanges down is gone")))
    }
}

/// A queue that somebody serves.
struct Served {
    queue: Arc<Mutex<Queue>>,
    is_over: bool,
}

impl Served {
    /// The next that share a turn; none when the queue is empty, and then it is served no more.
    fn next(&mut self) -> Vec<(Exchange, oneshot::Sender<Outcome>)> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let most = queue.waiting.len().min(MOST_TOGETHER);
        queue.is_served = most > 0;
        self.is_over = most == 0;
        queue.waiting.drain(..most).collect()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // Gone before its time: those that wait are told so, and the next begins anew.
        if !self.is_over {
            let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            queue.is_served = false;
            queue.waiting.clear();
        }
    }
}

async fn serve(mut served: Served, store: Store) {
    loop {
        let (exchanges, waiting): (Vec<_>, Vec<_>) = served.next().into_iter().unzip();
        if exchanges.is_empty() {
            return;
        }
        let outcomes = write(&store, &exchanges).await;
        for (waiting, outcome) in waiting.into_iter().zip(outcomes) {
            let _ = waiting.send(outcome);
        }
    }
}

async fn write(store: &Store, exchanges: &[Exchange]) -> Vec<Outcome> {
    let told = |error: StoreError| {
        let error = Error::from(error);
        exchanges.iter().map(|_| Err(error.clone())).collect()
    };
    match write_together(store, exchanges).await {
        Ok(outcomes) => outcomes,
        // It may be one of them that the database does not take.
        Err(StoreError::Conflict | StoreError::Database(_)) if exchanges.len() > 1 => {
            let mut outcomes = Vec::with_capacity(exchanges.len());
            for exchange in exchanges {
                match write_together(store, slice::from_ref(exchange)).await {
                    Ok(outcome) => outcomes.extend(outcome),
                    Err(error) => outcomes.push(Err(error.into())),
                }
            }
            outcomes
        }
        Err(error) => told(error),
    }
}

async fn write_together(store: &Store, exchanges: &[Exchange]) -> store::Result<Vec<Outcome>> {
    let mut change = store.begin_late().await?;
    let gone = change.gone(exchanges).await?;
    let standing = exchanges.iter().zip(&gone);
    let standing: Vec<_> = standing
        .filter(|(_, gone)| gone.is_none())
        .map(|(exchange, _)| exchange)
        .collect();
    let mut heads = change.append_all_and_commit(&standing).await?.into_iter();
    let lost = || Err(Error::internal("an exchange was not written down"));
    let outcome = |gone: Option<Error>| match gone {
        Some(error) => Err(error),
        None => heads.next().map_or_else(lost, Ok),
    };
    Ok(gone.into_iter().map(outcome).collect())
}

impl Change {
    /// Of each that is a mint, why it must not be, if what it rests on is gone by now. Whatever takes it away
    /// comes before this change or after it.
    pub(super) async fn gone(
        &mut self,
        exchanges: &[Exchange],
    ) -> store::Result<Vec<Option<Error>>> {
        let mints = exchanges
            .iter()
            .filter_map(|exchange| exchange.mint.as_ref());
        let mut named: BTreeMap<&ZoneId, BTreeMap<(&str, &str), Anchor<'_>>> = BTreeMap::new();
        let (mut sessions, mut delegations) = (BTreeSet::new(), BTreeSet::new());
        for (_, grounds) in mints {
            let of_zone = named.entry(&grounds.zone.id).or_default();
            let of_mandates = grounds
                .mandates()
                .flat_map(|(claims, kid)| anchors(claims, kid));
            of_zone.extend(of_mandates.map(|anchor| ((anchor.kind.name(), anchor.id), anchor)));
            if let Some(standing) = &grounds.party.standing {
                sessions.extend(standing.sessions().iter().map(String::as_str));
                delegations.extend(standing.made_edges().iter().map(String::as_str));
            }
        }
        let mut revoked = BTreeMap::new();
        for (zone, anchors) in named {
            let anchors: Vec<_> = anchors.into_values().collect();
            revoked.insert(zone, self.revocations_of(zone, &anchors).await?);
        }
        let now = Moment::now();
        let sessions = self.active_among(&sessions, now).await?;
        let delegations = self.in_force_among(&delegations, now).await?;
        let mut gone = Vec::with_capacity(exchanges.len());
        for exchange in exchanges {
            let Some((_, grounds)) = &exchange.mint else {
                gone.push(None);
                continue;
            };
            let revoked = revoked.get(&grounds.zone.id).map_or(&[][..], Vec::as_slice);
            gone.push(if !self.still_stands(&grounds.zone, &grounds.party.application).await? {
                Some(again("the application or the zone's policy changed during this exchange; try again"))
            } else if let Some(error) = grounds.revoked(revoked) {
                Some(error)
            } else if grounds.party.standing.as_ref().is_some_and(|standing| {
                !standing.sessions().iter().all(|id| sessions.contains(id))
                    || !standing.made_edges().iter().all(|id| delegations.contains(id))
            }) {
                Some(denied(
                    "authority_withdrawn",
                    "the session or the delegation was suspended, ended or revoked during this exchange",
                ))
            } else {
                None
            });
        }
        Ok(gone)
    }

    /// Writes them down, makes that durable, and tells of each where the ledger of its zone stands then.
    pub(super) async fn append_all_and_commit(
        mut self,
        exchanges: &[&Exchange],
    ) -> store::Result<Vec<LedgerHead>> {
        let mut zones: BTreeMap<&ZoneId, Vec<ExchangeRows<'_>>> = BTreeMap::new();
        for exchange in exchanges {
            let record = exchange.mint.as_ref().map(|(record, _)| record);
            let (event, text) = (&exchange.event, exchange.text.as_str());
            let rows = (event, text, record, exchange.inputs.as_slice());
            zones.entry(&exchange.event.zone_id).or_default().push(rows);
        }
        let mut heads = BTreeMap::new();
        if zones.len() == 1
            && let Some((zone, rows)) = zones.pop_first()
        {
            heads.insert(zone, self.append_exchanges_and_commit(zone, &rows).await?);
        } else {
            self.begin().await?;
            for (zone, rows) in zones {
                heads.insert(zone, self.append_exchanges(zone, &rows).await?);
            }
            self.commit().await?;
        }
        let head = |exchange: &&Exchange| heads.get(&exchange.event.zone_id).cloned();
        Ok(exchanges.iter().filter_map(head).collect())
    }
}

impl Grounds {
    /// The mandates that must be good: the one that was presented, and the one that is minted.
    fn mandates(&self) -> impl Iterator<Item = (&Claims, &KeyId)> {
        let presented = self.party.subject.as_ref();
        presented
            .map(|mandate| (mandate.claims(), mandate.key_id()))
            .into_iter()
            .chain([(&self.claims, &self.kid)])
    }

    /// Why one of them is not, if it is among the `revoked`.
    fn revoked(&self, revoked: &[RevocationRow]) -> Option<Error> {
        let of = |claims, kid| first_in_force(revoked, &anchors(claims, kid), claims);
        let presented = self.party.subject.as_ref();
        if let Some(row) = presented.and_then(|mandate| of(mandate.claims(), mandate.key_id())) {
            return Some(rests_on_revoked(row));
        }
        let row = of(&self.claims, &self.kid)?;
        Some(if row.issued_until.is_some() {
            // Cut off within this very second: what is issued in the next one is not.
            again("mandates issued up to now were revoked; try again")
        } else {
            rests_on_revoked(row)
        })
    }
}

fn rests_on_revoked(row: &RevocationRow) -> Error {
    denied(
        "token_revoked",
        &format!(
            "what the mandate would rest on is revoked: {} {}",
            row.anchor_type, row.anchor_id
        ),
    )
}

fn again(description: &'static str) -> Error {
    Error::new(Code::OVERLOADED, description).retry_after(Duration::from_secs(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::{chain, told, with_zone};

    fn denial(zone: &Zone, number: u32) -> Exchange {
        let event = told(zone, number);
        Exchange {
            text: event.canonical().unwrap(),
            event,
            mint: None,
            inputs: Arc::default(),
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn exchanges_share_turns_and_one_that_cannot_be_written_takes_none_along() {
        const EXCHANGES: u32 = 300;
        let dir = tempfile::tempdir().unwrap();
        let (store, zone) = with_zone(dir.path()).await;
        let recorder = Arc::new(Recorder::default());
        let first = denial(&zone, EXCHANGES);
        let taken = first.event.id.clone();
        assert_eq!(recorder.record(&store, first).await.unwrap().seq, 1);
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..EXCHANGES {
            let (store, recorder) = (store.clone(), Arc::clone(&recorder));
            let mut exchange = denial(&zone, number);
            let is_good = number % 10 != 7;
            if !is_good {
                exchange.event.id.clone_from(&taken);
                exchange.text = exchange.event.canonical().unwrap();
            }
            tasks.spawn(async move {
                let outcome = recorder.record(&store, exchange).await;
                assert_eq!(outcome.is_ok(), is_good, "{number}: {outcome:?}");
            });
        }
        while let Some(ended) = tasks.join_next().await {
            ended.unwrap();
        }
        assert_eq!(
            chain(&store, &zone).await,
            u64::from(EXCHANGES * 9 / 10 + 1)
        );
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn whoever_goes_away_is_written_down_all_the_same() {
        const EXCHANGES: u32 = 200;
        let dir = tempfile::tempdir().unwrap();
        let (store, zone) = with_zone(dir.path()).await;
        let recorder = Recorder::default();
        for number in 0..EXCHANGES {
            let waiting = recorder.record(&store, denial(&zone, number));
            // Asked once, and let go of.
            let _ = tokio::time::timeout(Duration::ZERO, waiting).await;
        }
        recorder
            .record(&store, denial(&zone, EXCHANGES))
            .await
            .unwrap();
        assert_eq!(chain(&store, &zone).await, u64::from(EXCHANGES + 1));
    }
}
