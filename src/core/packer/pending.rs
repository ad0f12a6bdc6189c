//! The part of the stream that has come and was not taken yet, since something has to be waited for.

use std::collections::VecDeque;

use crate::core::change::{Chunk, Event};

/// How much of the stream may come while documents are read, in bytes: as many changes as the next read may be for.
const MOST_BYTES: usize = 128 << 10;

/// Chunks in a row, each with its events in order. An event's place is counted from the first event of the
/// first chunk on.
#[derive(Debug, Default)]
pub(super) struct Pending {
    chunks: VecDeque<Chunk>,
    bytes: usize,
    /// The place of the event whose turn it is.
    next: usize,
    /// The place up to which events were looked at for the documents that they want.
    asked: usize,
    /// The place from which on that was done for the last read.
    last_asked: usize,
}

impl Pending {
    /// Adds what has come.
    pub(super) fn add(&mut self, chunk: Chunk) {
        self.bytes += chunk.size();
        self.chunks.push_back(chunk);
        self.drop_taken();
    }

    /// Whether all is taken.
    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Whether more of the stream may come while documents are read.
    pub(super) fn has_room(&self) -> bool {
        self.bytes < MOST_BYTES
    }

    /// The event whose turn it is.
    pub(super) fn next(&self) -> Option<Event<'_>> {
        self.get(self.next)
    }

    /// Takes note that it was taken.
    pub(super) fn take_next(&mut self) {
        self.next += 1;
        self.drop_taken();
    }

    /// The events whose documents were not asked for, with the place behind each. There are none while the
    /// packing has not come to those of the last read: what is read has to be held until it is used.
    pub(super) fn unasked(&self) -> impl Iterator<Item = (usize, Event<'_>)> {
        let is_used = self.next >= self.last_asked;
        let places = self.asked.max(self.next)..;
        places.map_while(move |place| Some((place + 1, self.get(place).filter(|_| is_used)?)))
    }

    /// Takes note that the documents of the events before this place are being read.
    pub(super) fn asked_up_to(&mut self, place: usize) {
        self.last_asked = self.asked.max(self.next);
        self.asked = place;
    }

    /// The same of events that want none, or none that is not known.
    pub(super) fn known_up_to(&mut self, place: usize) {
        self.asked = place;
    }

    /// Takes note that the event whose turn it is lacks a document, though it may have been asked for.
    pub(super) fn ask_again(&mut self) {
        (self.asked, self.last_asked) = (self.next, self.next);
    }

    fn get(&self, mut place: usize) -> Option<Event<'_>> {
        for chunk in &self.chunks {
            match chunk.get(place) {
                None => place -= chunk.len(),
                event => return event,
            }
        }
        None
    }

    /// Drops the chunks that were taken.
    fn drop_taken(&mut self) {
        while let Some(first) = self.chunks.front()
            && self.next >= first.len()
        {
            let events = first.len();
            self.bytes -= first.size();
            self.chunks.pop_front();
            for place in [&mut self.next, &mut self.asked, &mut self.last_asked] {
                *place = place.saturating_sub(events);
            }
        }
    }
}
