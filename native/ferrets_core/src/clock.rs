//! The hybrid logical clock. Reads no time itself: whoever calls brings the wall clock's milliseconds.

use std::time::Duration;

/// A reading of the wall clock: milliseconds since 1970 in the upper 48 bits, parts of a millisecond in the lower 16.
///
/// The parts let the later one win of two writes within a millisecond, as far as the clocks agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(u64);

impl Time {
    /// The time so long after 1970.
    pub fn after_1970(passed: Duration) -> Self {
        // Milliseconds do not outgrow 48 bits before the year 10889.
        let ms = passed.as_secs() * 1_000 + u64::from(passed.subsec_millis());
        let rest = u64::from(passed.subsec_nanos() % 1_000_000);
        Time((ms << 16) + (rest << 16) / 1_000_000)
    }

    /// The time so many milliseconds after 1970.
    pub const fn from_ms(ms: u64) -> Self {
        Time(ms << 16)
    }

    /// The milliseconds of a clock's reading.
    pub fn ms_of(reading: u64) -> u64 {
        reading >> 16
    }

    /// Whole milliseconds since 1970.
    pub fn ms(self) -> u64 {
        self.0 >> 16
    }
}

/// A clock that never goes back, and is never behind a reading it has been shown.
#[derive(Debug, Default)]
pub struct Clock {
    last: u64,
}

impl Clock {
    /// A reading greater than every one given out or observed before: the wall clock's, if it is ahead of them.
    pub fn tick(&mut self, now: Time) -> u64 {
        // A clock that was shown u64::MAX cannot go on rising; it takes 8,900 years of honest time to get there.
        self.last = self.last.saturating_add(1).max(now.0);
        self.last
    }

    /// The last reading.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Takes note of another server's reading.
    pub fn observe(&mut self, reading: u64) {
        self.last = self.last.max(reading);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_rise_when_the_wall_clock_stands_or_goes_back() {
        let mut clock = Clock::default();
        let first = clock.tick(Time::from_ms(1_000));
        let second = clock.tick(Time::from_ms(1_000));
        let third = clock.tick(Time::from_ms(10));
        assert!(first < second && second < third);
        assert_eq!(first >> 16, 1_000);
    }

    #[test]
    fn the_later_of_two_times_within_a_millisecond_is_greater() {
        let (earlier, later) =
            (Time::after_1970(Duration::from_nanos(5_000_100)), Time::after_1970(Duration::from_nanos(5_000_200)));
        assert!(earlier < later);
        assert_eq!((earlier.ms(), later.ms()), (5, 5));
    }

    #[test]
    fn a_reading_after_an_observed_one_is_greater() {
        let mut clock = Clock::default();
        clock.observe(5_000 << 16);
        assert!(clock.tick(Time::from_ms(1)) > 5_000 << 16);
    }
}
