package health

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
)

// Each row plays answers, + and -, and says what is believed after each, U or D.
func TestAnswersAndBelief(t *testing.T) {
	for _, c := range []struct {
		source string
		check  conf.HealthCheck
		play   string
		want   string
	}{
		{"keepalived 4.2: the very first probe gets no retries: one failure at start-up marks the checker down",
			conf.HealthCheck{Rise: 1, Fall: 4}, "-", "D"},
		{"the same: not so the second",
			conf.HealthCheck{Rise: 1, Fall: 4}, "+-", "UU"},
		{"4.2: an up server needs retry + 1 consecutive failures (retry 3)",
			conf.HealthCheck{Rise: 1, Fall: 4}, "+----", "UUUUD"},
		{"4.2: any success resets retry_it",
			conf.HealthCheck{Rise: 1, Fall: 3}, "+--+--+---", "UUUUUUUUUD"},
		{"4.2: down, probe succeeds → UP immediately",
			conf.HealthCheck{Rise: 1, Fall: 3}, "--+", "DDU"},
		{"4.2: up again, all retries are there again",
			conf.HealthCheck{Rise: 1, Fall: 3}, "-+--+---", "DUUUUUUD"},
		{"5.1: alpha start: all checkers count as failed until one success",
			conf.HealthCheck{Rise: 1, Fall: 3, Alpha: true}, "--+--", "DDUUU"},
		{"alpha is down as any other: it needs its rise",
			conf.HealthCheck{Rise: 3, Fall: 1, Alpha: true}, "++-+++", "DDDDDU"},
		{"retry 0, as MISC_CHECK's default",
			conf.HealthCheck{Rise: 1, Fall: 1}, "+-+-", "UDUD"},
		{"rise: good answers in a row, a bad one between begins anew",
			conf.HealthCheck{Rise: 3, Fall: 1}, "+-++-++++-", "UDDDDDDUUD"},
		{"ldirectord 8: failcount < failurecount and currently up: soft failure, nothing else",
			conf.HealthCheck{Rise: 1, Fall: 3, Alpha: true}, "+--+---", "UUUUUUD"},
		{"ldirectord 8: a server that is not up is unaffected by failcount; one success brings it up",
			conf.HealthCheck{Rise: 1, Fall: 3, Alpha: true}, "+------+", "UUUDDDDU"},
		{"window: 3 bad of the last 5, whatever lies between",
			conf.HealthCheck{Rise: 1, Fall: 1, Window: conf.Window{Bad: 3, Of: 5}}, "+-+-+-", "UUUUUD"},
		{"window: the oldest answers are forgotten",
			conf.HealthCheck{Rise: 1, Fall: 1, Window: conf.Window{Bad: 3, Of: 5}}, "+--+++--+", "UUUUUUUUU"},
		{"window: two of the last five and one more",
			conf.HealthCheck{Rise: 1, Window: conf.Window{Bad: 3, Of: 5}}, "+--++-", "UUUUUD"},
		{"window: who comes back begins with an empty one",
			conf.HealthCheck{Rise: 2, Window: conf.Window{Bad: 2, Of: 3}}, "+--++-+", "UUDDUUU"},
		{"window: the first answer is believed here too",
			conf.HealthCheck{Rise: 1, Window: conf.Window{Bad: 3, Of: 5}}, "-", "D"},
		{"counts that are not written are one",
			conf.HealthCheck{}, "+-+", "UDU"},
	} {
		tr := trial{up: !c.check.Alpha}
		var got strings.Builder
		for _, a := range c.play {
			was := tr.up
			if changed := tr.step(&c.check, a == '+'); changed != (was != tr.up) {
				t.Errorf("%s: said changed %v from %v to %v", c.source, changed, was, tr.up)
			}
			got.WriteByte(map[bool]byte{true: 'U', false: 'D'}[tr.up])
		}
		if got.String() != c.want {
			t.Errorf("%s:\n%s gave\n%s, want\n%s", c.source, c.play, got.String(), c.want)
		}
	}
}

// keepalived 4.2: the next probe is after delay_before_retry while retries are left, else
// after delay_loop.
func TestSettledMeansTheLastAnswerAgrees(t *testing.T) {
	c := conf.HealthCheck{Rise: 2, Fall: 2}
	tr := trial{up: true}
	for i, step := range []struct{ ok, up, settled bool }{
		{true, true, true}, {false, true, false}, {true, true, true}, {false, true, false}, {false, false, true},
		{false, false, true}, {true, false, false}, {false, false, true}, {true, false, false}, {true, true, true},
	} {
		tr.step(&c, step.ok)
		if tr.up != step.up || tr.settled() != step.settled {
			t.Errorf("step %d: up %v settled %v, want %v %v", i, tr.up, tr.settled(), step.up, step.settled)
		}
	}
}

// keepalived 5.3: up → down when W == 0 or W < quorum − hysteresis; down → up when
// W ≥ quorum + hysteresis; in between as it was.
func TestQuorumArithmetic(t *testing.T) {
	for _, c := range []struct {
		need, hysteresis int
		weights          []int
		want             string
	}{
		{1, 0, []int{1, 0, 1, 5, 0}, "UDUUD"},
		{3, 0, []int{2, 3, 2, 3, 0}, "DUDUD"},
		{5, 2, []int{6, 7, 6, 5, 4, 3, 2, 3, 6, 7}, "DUUUUUDDDU"},
		{5, 4, []int{8, 9, 1, 0, 8, 9}, "DUUDDU"}, // W == 0 takes it down though 0 < 1 alone would too
		{2, 7, []int{2, 3, 1, 0, 2}, "DUUDD"},     // 3.2: hysteresis is forced to quorum − 1
		{0, 0, []int{0, 1, 0}, "DUD"},             // 3.2: quorum ≥ 1
		{1, -3, []int{0, 1, 0, 2}, "DUDU"},        // no hysteresis
		{10, 0, []int{9, 10, 9, 11, 10, 9}, "DUDUUD"},
	} {
		var q quorum
		got := ""
		for _, w := range c.weights {
			was := q.up
			if changed := q.step(w, c.need, c.hysteresis); changed != (was != q.up) {
				t.Errorf("quorum %d hysteresis %d: changed %v", c.need, c.hysteresis, changed)
			}
			got += map[bool]string{true: "U", false: "D"}[q.up]
		}
		if got != c.want {
			t.Errorf("quorum %d hysteresis %d, weights %v: %s, want %s", c.need, c.hysteresis, c.weights, got, c.want)
		}
	}
}

// keepalived 4.6: effective weight = configured + Σ contributions, clamped to ≥ 0, where a
// check that exits e contributes e − 2 − configured. Weight is e − 2 here.
func TestDynamicWeight(t *testing.T) {
	for _, c := range []struct {
		file  int
		asked []int
		want  int
	}{
		{5, nil, 5},
		{5, []int{3}, 3}, // with a single MISC_CHECK: weight = e − 2
		{5, []int{0}, 0}, // e = 2: weight 0 but alive
		{5, []int{9}, 9},
		{5, []int{3, 4}, 2},        // 5 − 2 − 1
		{5, []int{1, 1}, 0},        // 5 − 4 − 4, clamped
		{10, []int{12, 9, 11}, 12}, // 10 + 2 − 1 + 1
		{0, []int{7}, 7},
	} {
		if got := dynamicWeight(c.file, c.asked); got != c.want {
			t.Errorf("file %d, asked for %v: %d, want %d", c.file, c.asked, got, c.want)
		}
	}
}

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func TestFlapHoldsDownAfterChangesAndAnewWithEachMore(t *testing.T) {
	c := conf.Flap{Changes: 3, Within: 10 * time.Second, Hold: 30 * time.Second}
	var f flap
	for _, step := range []struct {
		at   int // seconds
		hold bool
	}{
		{0, false}, {6, false}, {11, false}, // 3 within 11 s: too slow
		{15, true},  // 6, 11, 15
		{20, true},  // 11, 15, 20: the hold is to end at 50 now
		{40, false}, // 15, 20, 40
	} {
		now := epoch.Add(time.Duration(step.at) * time.Second)
		if got := f.step(c, now); got != step.hold {
			t.Errorf("change at %d s: hold %v, want %v", step.at, got, step.hold)
		}
	}
	for at, held := range map[int]bool{49: true, 50: false} {
		if got := f.held(epoch.Add(time.Duration(at) * time.Second)); got != held {
			t.Errorf("at %d s: held %v, want %v", at, got, held)
		}
	}
	var off flap
	for range 100 {
		if off.step(conf.Flap{Hold: time.Hour}, epoch) || off.held(epoch) {
			t.Fatal("held without Changes")
		}
	}
}

// A slow start begins with 1, ends with all of the weight exactly when its time is over,
// never falls, and changes at most once in a second and once in a percent of its time.
func TestRamp(t *testing.T) {
	for _, full := range []int{0, 1, 2, 3, 7, 100, 1000, 65535, 1<<31 - 1} {
		for _, over := range []time.Duration{500 * time.Millisecond, time.Second, 1500 * time.Millisecond, 10 * time.Second, 100 * time.Second, 7 * time.Minute, time.Hour} {
			name := fmt.Sprintf("weight %d over %v", full, over)
			step := max(time.Second, over/100)
			last, changes, due := -1, 0, time.Duration(0)
			for age := time.Duration(0); age <= over+step; age += step / 7 {
				w, next := ramp(full, age, over)
				switch {
				case w < last:
					t.Errorf("%s: fell from %d to %d at %v", name, last, w, age)
				case age == 0 && full > 1 && w > max(1, full/50):
					t.Errorf("%s: begins with %d", name, w)
				case full > 0 && w < 1:
					t.Errorf("%s: %d at %v", name, w, age)
				case age >= over && (w != full || next != 0):
					t.Errorf("%s: %d, next in %v, at its end", name, w, next)
				case age < over && full > 1 && (w >= full || next <= 0 || age+next > over):
					t.Errorf("%s: %d, next in %v, at %v", name, w, next, age)
				}
				if last >= 0 && w != last {
					changes++
					if age < due {
						t.Errorf("%s: changed at %v, it was to be at %v", name, age, due)
					}
				}
				last, due = w, age+next
				// At the instant it said it does change.
				if later, _ := ramp(full, age+next, over); next > 0 && later <= w {
					t.Errorf("%s: at %v said %d changes in %v; then %d", name, age, w, next, later)
				}
			}
			if most := min(100, int(over/time.Second)) + 1; changes > most {
				t.Errorf("%s: %d changes", name, changes)
			}
		}
	}
	for age, want := range map[time.Duration]int{0: 1, 999 * time.Millisecond: 1, time.Second: 10, 5 * time.Second: 50, 9999 * time.Millisecond: 90, 10 * time.Second: 100} {
		if got, _ := ramp(100, age, 10*time.Second); got != want {
			t.Errorf("weight 100 over 10 s at %v: %d, want %d", age, got, want)
		}
	}
}

func TestPassiveWindowIsAnAnswerWithEnoughConnections(t *testing.T) {
	c := conf.Passive{Percent: 50, Min: 10, Window: 10 * time.Second}
	var p passive
	for _, step := range []struct {
		at, new, bad int
		want         string
	}{
		{0, 1000, 1000, ""},                          // of before the first window
		{5, 6, 6, ""}, {9, 3, 3, ""}, {10, 0, 0, ""}, // 9 of Min 10
		{15, 6, 2, ""}, {20, 4, 3, "bad"}, // 5 of 10 = 50 %
		{30, 10, 4, "good"},
		{31, 100, 100, ""}, {50, 0, 0, "bad"}, // nobody asked in between
		{60, 0, 0, ""}, // no connection at all
	} {
		answer, ok := p.step(c, epoch.Add(time.Duration(step.at)*time.Second), step.new, step.bad)
		got := ""
		if answer {
			got = map[bool]string{true: "good", false: "bad"}[ok]
		}
		if got != step.want {
			t.Errorf("at %d s: %q, want %q", step.at, got, step.want)
		}
	}
}

func TestHistogramQuantile(t *testing.T) {
	var h Histogram
	if d, _ := h.Quantile(0.99); d != 0 && d != Buckets[0] {
		t.Errorf("of nothing: %v", d)
	}
	for range 98 {
		h.add(time.Millisecond) // a bound belongs to its bucket
	}
	h.add(400 * time.Millisecond)
	h.add(time.Hour)
	for _, c := range []struct {
		q      float64
		want   time.Duration
		beyond bool
	}{{0.5, time.Millisecond, false}, {0.98, time.Millisecond, false}, {0.99, 500 * time.Millisecond, false}, {1, 30 * time.Second, true}} {
		if d, beyond := h.Quantile(c.q); d != c.want || beyond != c.beyond {
			t.Errorf("quantile %v: %v %v, want %v %v", c.q, d, beyond, c.want, c.beyond)
		}
	}
	if h.Sum != 98*time.Millisecond+400*time.Millisecond+time.Hour {
		t.Errorf("sum %v", h.Sum)
	}
}
