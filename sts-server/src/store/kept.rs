//! Rows that nearly every request reads and hardly one changes, kept in memory for as long as nothing is
//! changed in their tables. SQLite itself tells of every row that the one writer touches, so no change can
//! forget to say so.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use authority::ids::ZoneId;
use sqlx::SqliteConnection;

use super::{
    Application, AuthorityRecord, DelegationRow, Gateway, KeyRow, ResourceRow, Result, SessionRow,
    Zone, suspects::Suspects,
};

/// Tables of which rows are kept, and how SQLite calls them. All have a rowid: of the others SQLite tells nothing.
const TABLES: [(Table, &str); 7] = [
    (Table::Applications, "applications"),
    (Table::Delegations, "delegations"),
    (Table::Gateways, "gateways"),
    (Table::Resources, "resources"),
    (Table::Sessions, "sessions"),
    (Table::SigningKeys, "signing_keys"),
    (Table::Zones, "zones"),
];
/// How many rows of a kind are kept, or lists of rows.
const MOST: usize = 4_096;
/// The same for rows that clients make as many of as they like, and fill.
const MOST_MADE: usize = 1_024;

/// A table of which rows are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    Applications,
    Delegations,
    Gateways,
    Resources,
    Sessions,
    SigningKeys,
    Zones,
}

/// What is kept: zones under the id or slug they were asked for by, gateways under the hash of their token, sessions,
/// delegations and records under their id, the rest under its zone.
pub(super) struct Kept {
    pub(super) zones: Rows<String, Zone>,
    pub(super) applications: Rows<(ZoneId, String), Application>,
    pub(super) gateways: Rows<String, Gateway>,
    pub(super) resources: Rows<(ZoneId, String), ResourceRow>,
    pub(super) keys: Rows<ZoneId, Vec<KeyRow>>,
    pub(super) sessions: Rows<String, SessionRow>,
    pub(super) delegations: Rows<String, DelegationRow>,
    pub(super) records: Rows<String, AuthorityRecord>,
    pub(super) suspects: Suspects,
}

impl Kept {
    /// For as long as `changes` counts none.
    pub(super) fn new(changes: &Changes) -> Self {
        // Records are only ever added: no change makes one that is kept untrue.
        let never = Changes::default();
        Self {
            zones: Rows::new(changes, Table::Zones, MOST),
            applications: Rows::new(changes, Table::Applications, MOST),
            gateways: Rows::new(changes, Table::Gateways, MOST),
            resources: Rows::new(changes, Table::Resources, MOST),
            keys: Rows::new(changes, Table::SigningKeys, MOST),
            sessions: Rows::new(changes, Table::Sessions, MOST_MADE),
            delegations: Rows::new(changes, Table::Delegations, MOST_MADE),
            records: Rows::new(&never, Table::Zones, MOST_MADE),
            suspects: Suspects::new(changes),
        }
    }
}

/// Counts of each table the commits that changed a row in it.
#[derive(Clone, Default)]
pub(super) struct Changes(Arc<[Counted; TABLES.len()]>);

#[derive(Default)]
struct Counted {
    /// Something was changed that is not committed yet.
    touched: AtomicBool,
    generation: AtomicU64,
}

impl Changes {
    /// Listens to what is changed through `connection`.
    ///
    /// # Errors
    /// The connection is broken.
    pub(super) async fn listen(
        self,
        connection: &mut SqliteConnection,
    ) -> std::result::Result<(), sqlx::Error> {
        connection
            .lock_handle()
            .await?
            .set_update_hook(move |change| {
                let tables = TABLES.iter().zip(self.0.iter());
                for (_, counted) in tables.filter(|((_, name), _)| *name == change.table) {
                    counted.touched.store(true, Ordering::SeqCst);
                }
            });
        Ok(())
    }

    /// What was changed until now is in the database, or undone. To be called before anybody is told.
    pub(super) fn settle(&self) {
        for counted in self.0.iter() {
            if counted.touched.swap(false, Ordering::SeqCst) {
                counted.generation.fetch_add(1, Ordering::SeqCst);
            }
        }
    }

    /// How many commits have changed `table`.
    pub(super) fn generation(&self, table: Table) -> u64 {
        self.counted(table).map_or(u64::MAX, |counted| {
            counted.generation.load(Ordering::SeqCst)
        })
    }

    /// The same, if no change to the table is under way. To be asked by who writes.
    pub(super) fn certain_generation(&self, table: Table) -> Option<u64> {
        let counted = self.counted(table)?;
        (!counted.touched.load(Ordering::SeqCst)).then(|| counted.generation.load(Ordering::SeqCst))
    }

    fn counted(&self, table: Table) -> Option<&Counted> {
        let mut tables = TABLES.iter().zip(self.0.iter());
        tables.find_map(|((one, _), counted)| (*one == table).then_some(counted))
    }
}

/// Rows of one kind, as they were in one generation.
pub(super) struct Rows<K, V> {
    changes: Changes,
    table: Table,
    most: usize,
    kept: Mutex<(u64, HashMap<K, V>)>,
}

impl<K: Clone + Eq + Hash, V: Clone> Rows<K, V> {
    fn new(changes: &Changes, table: Table, most: usize) -> Self {
        Self {
            changes: changes.clone(),
            table,
            most,
            kept: Mutex::default(),
        }
    }

    /// The row under `key`: the kept one, or else what `read` finds, which is kept. That there is none is not.
    ///
    /// # Errors
    /// Those of `read`.
    pub(super) async fn get(
        &self,
        key: K,
        read: impl Future<Output = Result<Option<V>>>,
    ) -> Result<Option<V>> {
        // From before the row is read: what changes meanwhile is counted after it, and the row not found again.
        let generation = self.changes.generation(self.table);
        if let Some(row) = self.find(generation, &key, V::clone) {
            return Ok(Some(row));
        }
        let row = read.await?;
        if let Some(row) = &row {
            self.keep(generation, key, row.clone());
        }
        Ok(row)
    }

    /// The rows under `keys` if all of them are kept, or else what `read` finds with the key of each, which are kept.
    /// Either way they are of one moment.
    ///
    /// # Errors
    /// Those of `read`.
    pub(super) async fn all(
        &self,
        keys: &[K],
        key: impl Fn(&V) -> K,
        read: impl Future<Output = Result<Vec<V>>>,
    ) -> Result<Vec<V>> {
        let generation = self.changes.generation(self.table);
        let kept = keys.iter();
        let kept = kept.map(|key| self.find(generation, key, V::clone));
        if let Some(rows) = kept.collect() {
            return Ok(rows);
        }
        let rows = read.await?;
        for row in &rows {
            self.keep(generation, key(row), row.clone());
        }
        Ok(rows)
    }

    /// What `look` makes of the row under `key` if it is kept and no change to its table is under way. To be asked
    /// by who writes: then it is the row in the database until they are done.
    pub(super) fn certain<T>(&self, key: &K, look: impl FnOnce(&V) -> T) -> Option<T> {
        let generation = self.changes.certain_generation(self.table)?;
        self.find(generation, key, look)
    }

    /// Keeps a row as who writes has read it, unless a change to its table is under way, which may have made it so.
    pub(super) fn keep_certain(&self, key: K, row: V) {
        if let Some(generation) = self.changes.certain_generation(self.table) {
            self.keep(generation, key, row);
        }
    }

    fn find<T>(&self, generation: u64, key: &K, look: impl FnOnce(&V) -> T) -> Option<T> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.0 < generation {
            *kept = (generation, HashMap::new());
        }
        (kept.0 == generation)
            .then(|| kept.1.get(key).map(look))
            .flatten()
    }

    fn keep(&self, generation: u64, key: K, row: V) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.0 != generation {
            return;
        }
        if kept.1.len() >= self.most
            && let Some(another) = kept.1.keys().next().cloned()
        {
            kept.1.remove(&another);
        }
        kept.1.insert(key, row);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(changes: &Changes) {
        touch(changes);
        changes.settle();
    }

    fn touch(changes: &Changes) {
        let touched = &changes.counted(Table::Sessions).unwrap().touched;
        touched.store(true, Ordering::SeqCst);
    }

    fn rows<K: Clone + Eq + Hash, V: Clone>(changes: &Changes) -> Rows<K, V> {
        Rows::new(changes, Table::Sessions, MOST)
    }

    fn certain(rows: &Rows<&str, i32>) -> Option<i32> {
        rows.certain(&"a", i32::clone)
    }

    #[tokio::test]
    async fn a_row_is_read_once_in_a_generation_and_again_in_the_next() {
        let changes = Changes::default();
        let rows = rows(&changes);
        let read = async |value| rows.get("a", async move { Ok(value) }).await.unwrap();
        assert_eq!(read(None).await, None);
        assert_eq!(read(Some(1)).await, Some(1));
        assert_eq!(read(Some(2)).await, Some(1));
        changes.settle();
        assert_eq!(read(Some(2)).await, Some(1), "nothing was changed");
        assert_eq!(certain(&rows), Some(1));
        touch(&changes);
        assert_eq!(certain(&rows), None, "a change is under way");
        rows.keep_certain("a", 2);
        assert_eq!(read(Some(2)).await, Some(1), "and not committed");
        changed(&changes);
        assert_eq!(read(Some(3)).await, Some(3));
    }

    #[tokio::test]
    async fn what_changed_while_it_was_read_is_read_again() {
        let changes = Changes::default();
        let rows = rows(&changes);
        let read = async {
            changed(&changes);
            Ok(Some("before"))
        };
        assert_eq!(rows.get(1, read).await.unwrap(), Some("before"));
        assert_eq!(
            rows.get(1, async { Ok(Some("after")) }).await.unwrap(),
            Some("after")
        );
        // One that began before the change and comes late takes nothing's place.
        rows.keep(0, 1, "before");
        assert_eq!(
            rows.get(1, async { Ok(None) }).await.unwrap(),
            Some("after")
        );
    }

    #[tokio::test]
    async fn no_more_is_kept_than_there_is_room_for() {
        let rows = rows(&Changes::default());
        for key in 0..MOST + 10 {
            rows.get(key, async { Ok(Some(())) }).await.unwrap();
        }
        assert_eq!(rows.kept.lock().unwrap().1.len(), MOST);
    }
}
