//! The callbacks of a request, as the host makes them: it enters the VM five times for each, so what is done each time is
//! felt where a mandate is known. The SDK's dispatcher keeps an object for every request, in one map of several that it looks
//! through with each callback; nothing here is kept for a request that does not pass.
//!
//! The SDK exports functions of its own by the names that the host calls. `cargo xtask build` gives those names to the
//! functions here, `proxy_` in place of `caracal_`. Root contexts, and the calls that they make, are the SDK's.
#![allow(unsafe_code)] // exports, each the only one of its name; and the SDK's, of safe functions

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use proxy_wasm::types::Action;

use crate::{filter, worker::Worker};

unsafe extern "C" {
    // The SDK's.
    safe fn proxy_on_context_create(context_id: u32, root_context_id: u32);
    safe fn proxy_on_delete(context_id: u32);
}

/// A root context, and what its requests share once it is configured.
struct Root {
    context_id: u32,
    worker: Option<Rc<RefCell<Worker>>>,
}

thread_local! {
    /// As many as there are configurations of the filter in this VM: nearly always one.
    static ROOTS: RefCell<Vec<Root>> = const { RefCell::new(Vec::new()) };
    /// The request that the host made known last, and its root context.
    static NEWEST: Cell<(u32, u32)> = const { Cell::new((0, 0)) };
}

/// Has the requests of a root context served by `worker` from now on.
pub(crate) fn serve(root_context_id: u32, worker: &Rc<RefCell<Worker>>) {
    ROOTS.with_borrow_mut(|roots| {
        if let Some(root) = roots
            .iter_mut()
            .find(|root| root.context_id == root_context_id)
        {
            root.worker = Some(Rc::clone(worker));
        }
    });
}

#[unsafe(no_mangle)]
extern "C" fn caracal_on_context_create(context_id: u32, root_context_id: u32) {
    if root_context_id != 0 {
        return NEWEST.set((context_id, root_context_id));
    }
    proxy_on_context_create(context_id, root_context_id);
    let worker = None;
    ROOTS.with_borrow_mut(|roots| roots.push(Root { context_id, worker }));
}

/// Comes right after the request was made known. One whose configuration is not known goes nowhere.
#[unsafe(no_mangle)]
extern "C" fn caracal_on_request_headers(
    context_id: u32,
    _headers: usize,
    _end_of_stream: bool,
) -> Action {
    ROOTS.with_borrow(|roots| {
        let root = match roots.as_slice() {
            [only] => Some(only),
            several => several
                .iter()
                .find(|root| NEWEST.get() == (context_id, root.context_id)),
        };
        root.and_then(|root| root.worker.as_deref())
            .map_or(Action::Pause, |worker| {
                filter::on_request_headers(worker, context_id)
            })
    })
}

#[unsafe(no_mangle)]
extern "C" fn caracal_on_request_trailers(_context_id: u32, _trailers: usize) -> Action {
    filter::on_request_trailers()
}

#[unsafe(no_mangle)]
extern "C" fn caracal_on_response_body(
    context_id: u32,
    size: usize,
    _end_of_stream: bool,
) -> Action {
    ROOTS.with_borrow(|roots| {
        workers(roots)
            .find_map(|worker| filter::on_response_body(worker, context_id, size))
            .unwrap_or(Action::Continue)
    })
}

#[unsafe(no_mangle)]
extern "C" fn caracal_on_delete(context_id: u32) {
    let place = ROOTS.with_borrow(|roots| {
        let place = roots.iter().position(|root| root.context_id == context_id);
        if place.is_none() {
            workers(roots).for_each(|worker| filter::on_delete(worker, context_id));
        }
        place
    });
    if let Some(place) = place {
        drop(ROOTS.with_borrow_mut(|roots| roots.swap_remove(place)));
        proxy_on_delete(context_id);
    }
}

fn workers(roots: &[Root]) -> impl Iterator<Item = &RefCell<Worker>> {
    roots.iter().filter_map(|root| root.worker.as_deref())
}
