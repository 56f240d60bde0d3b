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

use super::{Application, KeyRow, ResourceRow, Result, Zone};

/// Tables of which rows are kept.
const TABLES: [&str; 4] = ["applications", "resources", "signing_keys", "zones"];
/// How many rows of a kind are kept, or lists of rows.
const MOST: usize = 4_096;

/// What is kept, each under its zone but the zones, which are under the id or slug they were asked for by.
pub(super) struct Kept {
    pub(super) zones: Rows<String, Zone>,
    pub(super) applications: Rows<(ZoneId, String), Application>,
    pub(super) resources: Rows<(ZoneId, String), ResourceRow>,
    pub(super) keys: Rows<ZoneId, Vec<KeyRow>>,
}

impl Kept {
    /// For as long as `changes` counts none.
    pub(super) fn new(changes: &Changes) -> Self {
        Self {
            zones: Rows::new(changes),
            applications: Rows::new(changes),
            resources: Rows::new(changes),
            keys: Rows::new(changes),
        }
    }
}

/// Counts the commits that changed a row in one of the tables.
#[derive(Clone, Default)]
pub(super) struct Changes(Arc<Counted>);

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
                if TABLES.contains(&change.table) {
                    self.0.touched.store(true, Ordering::SeqCst);
                }
            });
        Ok(())
    }

    /// What was changed until now is in the database, or undone. To be called before anybody is told.
    pub(super) fn settle(&self) {
        if self.0.touched.swap(false, Ordering::SeqCst) {
            self.0.generation.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn generation(&self) -> u64 {
        self.0.generation.load(Ordering::SeqCst)
    }
}

/// Rows of one kind, as they were in one generation.
pub(super) struct Rows<K, V> {
    changes: Changes,
    kept: Mutex<(u64, HashMap<K, V>)>,
}

impl<K: Clone + Eq + Hash, V: Clone> Rows<K, V> {
    fn new(changes: &Changes) -> Self {
        Self {
            changes: changes.clone(),
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
        let generation = self.changes.generation();
        if let Some(row) = self.find(generation, &key) {
            return Ok(Some(row));
        }
        let row = read.await?;
        if let Some(row) = &row {
            self.keep(generation, key, row.clone());
        }
        Ok(row)
    }

    /// The row under `key` if it is kept and no change to its table is under way. To be asked by who writes:
    /// then it is the row in the database until they are done.
    pub(super) fn certain(&self, key: &K) -> Option<V> {
        let Counted {
            touched,
            generation,
        } = &*self.changes.0;
        (!touched.load(Ordering::SeqCst))
            .then(|| self.find(generation.load(Ordering::SeqCst), key))
            .flatten()
    }

    fn find(&self, generation: u64, key: &K) -> Option<V> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.0 < generation {
            *kept = (generation, HashMap::new());
        }
        (kept.0 == generation)
            .then(|| kept.1.get(key).cloned())
            .flatten()
    }

    fn keep(&self, generation: u64, key: K, row: V) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.0 != generation {
            return;
        }
        if kept.1.len() >= MOST
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
        changes.0.touched.store(true, Ordering::SeqCst);
        changes.settle();
    }

    #[tokio::test]
    async fn a_row_is_read_once_in_a_generation_and_again_in_the_next() {
        let changes = Changes::default();
        let rows = Rows::new(&changes);
        let read = async |value| rows.get("a", async move { Ok(value) }).await.unwrap();
        assert_eq!(read(None).await, None);
        assert_eq!(read(Some(1)).await, Some(1));
        assert_eq!(read(Some(2)).await, Some(1));
        changes.settle();
        assert_eq!(read(Some(2)).await, Some(1), "nothing was changed");
        assert_eq!(rows.certain(&"a"), Some(1));
        changes.0.touched.store(true, Ordering::SeqCst);
        assert_eq!(rows.certain(&"a"), None, "a change is under way");
        assert_eq!(read(Some(2)).await, Some(1), "and not committed");
        changed(&changes);
        assert_eq!(read(Some(3)).await, Some(3));
    }

    #[tokio::test]
    async fn what_changed_while_it_was_read_is_read_again() {
        let changes = Changes::default();
        let rows = Rows::new(&changes);
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
        let rows = Rows::new(&Changes::default());
        for key in 0..MOST + 10 {
            rows.get(key, async { Ok(Some(())) }).await.unwrap();
        }
        assert_eq!(rows.kept.lock().unwrap().1.len(), MOST);
    }
}
