package health

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
)

// overdue is how long after its timeout a probe that has not ended is taken for a bad
// answer. A script may need two seconds to be killed.
const overdue = 5 * time.Second

// maxDiscarded is how many bad answers in a row are not counted because the director
// was late. A director that is always late has to believe something in the end, or no
// dead server would ever be found.
const maxDiscarded = 5

// asking is one question and those who want to know.
type asking struct {
	question
	checks    []*check // that share it; none: it is given up
	prober    Prober   // made with the first probe; of the probe's goroutine while it runs
	state     askState
	alarm     alarm     // idle: the next probe; running: the probe is overdue
	due       time.Time // when the probe was to be asked that waits or runs
	began     time.Time
	last      Result          // of a probe that ended, counted or not
	discarded int             // bad answers in a row that were not counted
	late      bool            // it was overdue and has been judged for that
	waiters   []chan struct{} // closed with the next answer
}

// askState is where a question is on its way round.
type askState uint8

const (
	idle    askState = iota // its alarm says when it is asked
	queued                  // due
	running                 // being asked
)

// release lets those go that wait for the next answer.
func (q *asking) release() {
	for _, w := range q.waiters {
		close(w)
	}
	q.waiters = nil
}

// answer is a probe that ended.
type answer struct {
	q          *asking
	prober     Prober
	result     Result
	panicked   []byte // the stack, if the prober did
	start, end time.Time
	late       time.Duration // between the goroutine's call and its first instruction
}

func (q *asking) timeout() time.Duration {
	if q.probe.Timeout <= 0 {
		return 5 * time.Second // keepalived's connect_timeout; conf fills in its own
	}
	return q.probe.Timeout
}

// ask asks once. What makes it panic is its own fault, not the target's.
func (q *asking) ask(ctx context.Context, prober func(conf.Probe, Target) (Prober, error), called time.Time) (a answer) {
	a = answer{q: q, prober: q.prober, start: time.Now()}
	a.late = a.start.Sub(called)
	ctx, cancel := context.WithTimeout(ctx, q.timeout())
	defer func() {
		cancel()
		if p := recover(); p != nil {
			a.result = Result{Why: WhyLocal, Text: Plain(fmt.Sprintf("panic: %v", p))}
			a.panicked = debug.Stack()
		}
		a.end = time.Now()
		a.result.At = a.start
		if a.result.Took == 0 {
			a.result.Took = a.end.Sub(a.start)
		}
	}()
	if a.prober == nil {
		var err error
		if a.prober, err = prober(q.probe, q.target); err != nil {
			a.prober = nil
			a.result = Result{Why: WhyLocal, Text: err.Error()}
			return a
		}
	}
	a.result = a.prober.Probe(ctx)
	return a
}
