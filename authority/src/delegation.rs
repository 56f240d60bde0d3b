//! What a delegation passes on, and that it is never more than what its parent holds. The same rule is
//! applied when a delegation is made and again, along its whole path, at every mint.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use crate::time::Timestamp;

/// Most delegations from the first issuer to a receiver, and so the most hops that one may allow.
pub const MAX_HOPS: u32 = 10;

/// What a delegation bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Scopes.
    pub scopes: BTreeSet<String>,
    /// Identifiers of resources.
    pub resources: BTreeSet<String>,
    /// When it ends.
    pub expires_at: Timestamp,
    /// How many delegations may follow one another from here, this one included.
    pub max_hops: u32,
    /// Longest life of a mandate under it, in seconds.
    pub ttl_seconds: Option<u64>,
    /// What may be spent under it, in a unit of the issuer's choosing.
    pub budget: Option<u64>,
}

/// How authority came from a parent's delegation to a child's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It was passed on, which costs a hop.
    Delegated,
    /// A child session of the same application began with what its parent session holds.
    Inherited,
}

/// In what a delegation, or a mandate under it, is more than it may be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Excess {
    /// A scope.
    #[error("the scope {0} is not among those that were passed on")]
    Scope(String),
    /// A resource.
    #[error("the resource {0} is not among those that were passed on")]
    Resource(String),
    /// The lifetime.
    #[error("it would outlive the delegation that it rests on")]
    Lifetime,
    /// The hops.
    #[error("it may allow {allowed} hops at most, not {asked}")]
    Hops {
        /// What was asked for.
        asked: u32,
        /// What the parent leaves.
        allowed: u32,
    },
    /// The life of mandates.
    #[error("ttl_seconds of mandates under it may be {0} at most, and is required")]
    Ttl(u64),
    /// The budget.
    #[error("its budget may be {0} at most, and is required")]
    Budget(u64),
}

impl Bounds {
    /// Whether this is no more than what `parent` may pass on.
    ///
    /// # Errors
    /// The first [`Excess`].
    pub fn narrow(&self, parent: &Bounds, step: Step) -> Result<(), Excess> {
        parent.admit(&self.scopes, &self.resources)?;
        if self.expires_at > parent.expires_at {
            return Err(Excess::Lifetime);
        }
        let allowed = match step {
            Step::Delegated => parent.max_hops.saturating_sub(1),
            Step::Inherited => parent.max_hops,
        };
        if self.max_hops == 0 || self.max_hops > allowed {
            return Err(Excess::Hops {
                asked: self.max_hops,
                allowed,
            });
        }
        within(self.ttl_seconds, parent.ttl_seconds).map_err(Excess::Ttl)?;
        within(self.budget, parent.budget).map_err(Excess::Budget)
    }

    /// Whether all of `scopes` and `resources` are among these.
    ///
    /// # Errors
    /// [`Excess::Scope`], [`Excess::Resource`].
    pub fn admit<'a>(
        &self,
        scopes: impl IntoIterator<Item = &'a String>,
        resources: impl IntoIterator<Item = &'a String>,
    ) -> Result<(), Excess> {
        let outside = |set: &BTreeSet<String>, item: &&String| !set.contains(item.as_str());
        if let Some(scope) = scopes.into_iter().find(|item| outside(&self.scopes, item)) {
            return Err(Excess::Scope(scope.clone()));
        }
        match resources
            .into_iter()
            .find(|item| outside(&self.resources, item))
        {
            Some(resource) => Err(Excess::Resource(resource.clone())),
            None => Ok(()),
        }
    }

    /// When a mandate under this ends at the latest, if it is issued at `now`.
    pub fn mandate_end(&self, now: Timestamp) -> Timestamp {
        match self.ttl_seconds {
            Some(seconds) => self.expires_at.min(now.plus(seconds)),
            None => self.expires_at,
        }
    }
}

/// A path of delegations, from the first to the last, each within the one before it.
///
/// # Errors
/// The first [`Excess`]: of a step, or [`Excess::Hops`] of a path over [`MAX_HOPS`].
pub fn check_path<'a>(path: impl IntoIterator<Item = (&'a Bounds, Step)>) -> Result<(), Excess> {
    let mut before: Option<&Bounds> = None;
    let mut length = 0;
    for (bounds, step) in path {
        length += 1;
        if length > MAX_HOPS {
            return Err(Excess::Hops {
                asked: length,
                allowed: MAX_HOPS,
            });
        }
        if let Some(parent) = before {
            bounds.narrow(parent, step)?;
        }
        before = Some(bounds);
    }
    Ok(())
}

/// What is bounded above must be bounded below as well, and by no more.
fn within(child: Option<u64>, parent: Option<u64>) -> Result<(), u64> {
    match (child, parent) {
        (_, None) => Ok(()),
        (Some(child), Some(parent)) if child <= parent => Ok(()),
        (_, Some(parent)) => Err(parent),
    }
}
