//! Rings of every size at once. If what is allowed at a place depends on the k / 2 places on either
//! side only, then the allowed rings are the closed walks in a finite graph: its nodes are the words
//! of k letters, its edges the allowed words of k + 1 letters. "No ring of any size does X" is then a
//! finite question, and the shortest closed walk that does X is the smallest attack.

use std::collections::VecDeque;

/// A ring, letter by letter.
pub(crate) type Word = Vec<u8>;

/// The graph of the allowed windows.
pub(crate) struct Walks {
    letters: usize,
    nodes: usize,
    /// For each node the letters that may follow, as bits.
    next: Vec<u64>,
    /// How many windows are allowed.
    pub windows: usize,
}

/// What a closed walk has to do.
pub(crate) struct Goal<M> {
    /// The marks that each letter sets; a walk must collect all of `all`, and bit 0 is the mark of
    /// the letter that it is read from.
    pub marks: M,
    pub all: u8,
    /// Letters of this kind are counted, and a walk may have at most so many.
    pub counted: Option<(u8, u8)>,
}

impl Walks {
    /// Tries every window of `width + 1` letters (`width` is k).
    pub(crate) fn new(letters: usize, width: usize, allowed: impl Fn(&[u8]) -> bool) -> Self {
        assert!(letters <= 64);
        let nodes = letters.pow(width as u32);
        let mut next = vec![0_u64; nodes];
        let mut window = vec![0_u8; width + 1];
        let mut windows = 0;
        for (node, followers) in next.iter_mut().enumerate() {
            let mut rest = node;
            for place in (0..width).rev() {
                window[place] = (rest % letters) as u8;
                rest /= letters;
            }
            for letter in 0..letters {
                window[width] = letter as u8;
                if allowed(&window) {
                    *followers |= 1 << letter;
                    windows += 1;
                }
            }
        }
        Self {
            letters,
            nodes,
            next,
            windows,
        }
    }

    fn step(&self, node: usize, letter: usize) -> usize {
        (node * self.letters + letter) % self.nodes
    }

    fn followers(&self, node: usize) -> impl Iterator<Item = usize> + '_ {
        let mut bits = self.next[node];
        std::iter::from_fn(move || {
            (bits != 0).then(|| {
                let letter = bits.trailing_zeros() as usize;
                bits &= bits - 1;
                letter
            })
        })
    }

    /// The strongly connected component of each node (Tarjan, with an explicit stack). A closed walk
    /// stays in one.
    fn components(&self) -> Vec<u32> {
        const NEW: u32 = u32::MAX;
        let mut component = vec![NEW; self.nodes];
        let mut low = vec![NEW; self.nodes];
        let mut open = Vec::new();
        let mut calls: Vec<(usize, u32, u64)> = Vec::new();
        let (mut clock, mut found) = (0, 0);
        for root in 0..self.nodes {
            if low[root] != NEW {
                continue;
            }
            low[root] = clock;
            calls.push((root, clock, self.next[root]));
            open.push(root);
            clock += 1;
            while let Some(&mut (node, entered, ref mut bits)) = calls.last_mut() {
                if *bits != 0 {
                    let letter = bits.trailing_zeros() as usize;
                    *bits &= *bits - 1;
                    let to = self.step(node, letter);
                    if low[to] == NEW {
                        low[to] = clock;
                        calls.push((to, clock, self.next[to]));
                        open.push(to);
                        clock += 1;
                    } else if component[to] == NEW {
                        low[node] = low[node].min(low[to]);
                    }
                    continue;
                }
                calls.pop();
                if let Some(&(caller, ..)) = calls.last() {
                    low[caller] = low[caller].min(low[node]);
                }
                if low[node] == entered {
                    while let Some(member) = open.pop() {
                        component[member] = found;
                        if member == node {
                            break;
                        }
                    }
                    found += 1;
                }
            }
        }
        component
    }

    /// The shortest closed walk of at least `shortest` letters, at most `longest`, that reaches the
    /// goal. `None` says that there is none; with `longest` = `usize::MAX`: none of any length.
    pub(crate) fn closed(
        &self,
        goal: &Goal<impl Fn(u8) -> u8>,
        shortest: usize,
        longest: usize,
    ) -> Option<Word> {
        let component = self.components();
        let mut marks = vec![0_u8; self.nodes];
        for (node, &c) in component.iter().enumerate() {
            marks[c as usize] |= (goal.marks)((node % self.letters) as u8);
        }
        let promising = |node: usize| marks[component[node] as usize] & goal.all == goal.all;
        let mut best: Option<Word> = None;
        for start in 0..self.nodes {
            if (goal.marks)((start % self.letters) as u8) & 1 == 1 && promising(start) {
                let limit = best.as_ref().map_or(longest, |word| word.len() - 1);
                if let Some(word) = self.from(start, goal, &component, shortest, limit) {
                    best = Some(word);
                }
            }
        }
        best
    }

    /// Breadth first from one node back to it.
    fn from(
        &self,
        start: usize,
        goal: &Goal<impl Fn(u8) -> u8>,
        component: &[u32],
        shortest: usize,
        longest: usize,
    ) -> Option<Word> {
        // The length is part of a state up to `shortest`, so that a short cycle is no obstacle.
        type State = (u32, u8, u8, u8);
        let mut seen: std::collections::BTreeMap<State, (State, u8)> =
            std::collections::BTreeMap::new();
        let first: State = (start as u32, 0, 0, 0);
        let mut queue = VecDeque::from([(first, 0_usize)]);
        while let Some((state, length)) = queue.pop_front() {
            let (node, marks, count, capped) = state;
            if length >= longest {
                continue;
            }
            for letter in self.followers(node as usize) {
                let to = self.step(node as usize, letter);
                if component[to] != component[start] {
                    continue;
                }
                let letter = letter as u8;
                let (kind, most) = goal.counted.unwrap_or((u8::MAX, u8::MAX));
                let count = count + u8::from(letter == kind);
                let capped = (capped + 1).min(shortest as u8);
                let reached: State = (to as u32, marks | (goal.marks)(letter), count, capped);
                if count > most || seen.contains_key(&reached) {
                    continue;
                }
                seen.insert(reached, (state, letter));
                let done = to == start && reached.1 & goal.all == goal.all;
                if done && usize::from(capped) >= shortest {
                    return Some(trace(&seen, reached, length + 1));
                }
                queue.push_back((reached, length + 1));
            }
        }
        None
    }
}

fn trace<S: Ord + Copy>(
    seen: &std::collections::BTreeMap<S, (S, u8)>,
    mut state: S,
    length: usize,
) -> Word {
    let mut word = Word::with_capacity(length);
    for _ in 0..length {
        let (before, letter) = seen[&state];
        word.push(letter);
        state = before;
    }
    word.reverse();
    word
}
