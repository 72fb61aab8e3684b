//! In which order flows come.

/// Flow numbers in random order, each as often as the others: a full-period
/// linear congruential generator over the next power of two, values beyond the
/// range skipped (Knuth, TAOCP vol. 2, 3.2.1.2 theorem A).
pub struct Order {
    flows: u32,
    mask: u32,
    state: u32,
}

impl Order {
    /// Over so many flows.
    pub fn new(flows: u32) -> Order {
        Order {
            flows,
            mask: flows.next_power_of_two().wrapping_sub(1),
            state: 0,
        }
    }

    /// The next one.
    #[inline]
    pub fn pick(&mut self) -> u32 {
        loop {
            self.state = self
                .state
                .wrapping_mul(1_664_525)
                .wrapping_add(1_013_904_223);
            self.state &= self.mask;
            // The low bits of such a generator count up; fold the high ones in.
            let half = self.mask.count_ones().div_ceil(2).max(1);
            let number = self.state ^ self.state.wrapping_shr(half);
            if number < self.flows {
                return number;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flow_comes_equally_often() {
        for flows in [1, 2, 1_000, 65_536] {
            let mut order = Order::new(flows);
            let mut seen = vec![0; flows as usize];
            (0..flows * 3).for_each(|_| seen[order.pick() as usize] += 1);
            assert!(seen.iter().all(|count| *count == 3), "{flows} flows");
        }
    }
}
