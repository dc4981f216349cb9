//! What routes do, each different action once: a million routes share a few.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::sync::Arc;

use super::RouteAction;
use crate::fib::{ActionId, EntryId, Outcome};

/// The actions of all routes of the kernel.
#[derive(Default)]
pub(super) struct Actions {
    /// By id; `None` where the id is free.
    slots: Vec<Option<Slot>>,
    ids: HashMap<Arc<RouteAction>, ActionId, BuildHasherDefault<DefaultHasher>>,
    free: Vec<ActionId>,
    /// What each comes to, by id.
    outcomes: Vec<Outcome>,
}

struct Slot {
    action: Arc<RouteAction>,
    /// The routes that have it.
    routes: usize,
    /// The prefixes that it decides about.
    prefixes: usize,
}

impl Actions {
    /// The id of a known action, which one route more has.
    pub(super) fn acquire(&mut self, action: &RouteAction) -> Option<ActionId> {
        let id = *self.ids.get(action)?;
        self.slots[id as usize].as_mut()?.routes += 1;
        Some(id)
    }

    /// The id of an action, if any route has it.
    pub(super) fn find(&self, action: &RouteAction) -> Option<ActionId> {
        self.ids.get(action).copied()
    }

    /// Adds an action that is not known, which one route has.
    pub(super) fn add(&mut self, action: RouteAction, outcome: Outcome) -> ActionId {
        let action = Arc::new(action);
        let slot = Some(Slot { action: Arc::clone(&action), routes: 1, prefixes: 0 });
        let id = match self.free.pop() {
            Some(id) => {
                self.slots[id as usize] = slot;
                self.outcomes[id as usize] = outcome;
                id
            }
            None => {
                self.slots.push(slot);
                self.outcomes.push(outcome);
                (self.slots.len() - 1) as ActionId
            }
        };
        self.ids.insert(action, id);
        id
    }

    /// One route less has it. If it was the last, returns what it came to.
    pub(super) fn release(&mut self, id: ActionId) -> Option<Outcome> {
        let slot = &mut self.slots[id as usize];
        let routes = &mut slot.as_mut()?.routes;
        *routes -= 1;
        if *routes > 0 {
            return None;
        }
        self.ids.remove(&*slot.take()?.action);
        self.free.push(id);
        Some(self.set_outcome(id, Outcome::Dead))
    }

    pub(super) fn action(&self, id: ActionId) -> Option<&RouteAction> {
        Some(&self.slots.get(id as usize)?.as_ref()?.action)
    }

    /// All actions in use.
    pub(super) fn iter(&self) -> impl Iterator<Item = (ActionId, &RouteAction)> {
        (0..).zip(&self.slots).filter_map(|(id, slot)| Some((id, &*slot.as_ref()?.action)))
    }

    /// What actions come to, by id.
    pub(super) fn outcomes(&self) -> &[Outcome] {
        &self.outcomes
    }

    pub(super) fn outcome(&self, id: ActionId) -> Outcome {
        self.outcomes[id as usize]
    }

    /// Sets what an action comes to; returns what it came to before.
    pub(super) fn set_outcome(&mut self, id: ActionId, outcome: Outcome) -> Outcome {
        std::mem::replace(&mut self.outcomes[id as usize], outcome)
    }

    /// Whether any route cannot be followed now.
    pub(super) fn any_dead(&self) -> bool {
        self.iter().any(|(id, _)| self.outcome(id).is_dead())
    }

    /// No action decides about any prefix, until it is counted.
    pub(super) fn clear_prefixes(&mut self) {
        self.slots.iter_mut().flatten().for_each(|slot| slot.prefixes = 0);
    }

    /// The action decides about one prefix more.
    pub(super) fn count(&mut self, id: ActionId) {
        if let Some(slot) = &mut self.slots[id as usize] {
            slot.prefixes += 1;
        }
    }

    /// The action decides about one prefix less.
    pub(super) fn discount(&mut self, id: ActionId) {
        if let Some(slot) = &mut self.slots[id as usize] {
            slot.prefixes = slot.prefixes.saturating_sub(1);
        }
    }

    /// The entries to which the actions lead that decide about any prefix.
    pub(super) fn entries_in_use(&self) -> impl Iterator<Item = EntryId> {
        let in_use = (0..).zip(&self.slots).filter(|(_, slot)| {
            slot.as_ref().is_some_and(|slot| slot.prefixes > 0) //
        });
        in_use.filter_map(|(id, _)| match self.outcome(id) {
            Outcome::To(entry) => Some(entry),
            Outcome::Dead | Outcome::DeadTunnel | Outcome::Throw => None,
        })
    }
}
