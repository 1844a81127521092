package health

import (
	"context"
	"fmt"
	"os"
)

// lane is the way on which answers come to their probes: the system says that something
// can be read, the runtime hears of it in its turn, and the goroutine that waits for it
// runs in its turn. Both queues keep their order, so a pass along the lane takes as long
// as an answer lies unheard now. A timer would not tell: the runtime lets it overtake the
// goroutines that wait to run. The nil lane is passed at once: what steps its clock must
// not wait for a descriptor.
type lane struct {
	r, w *os.File
	back chan struct{}
}

func newLane() (*lane, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("health: %w", err)
	}
	l := &lane{r, w, make(chan struct{}, 1)}
	go l.carry()
	return l, nil
}

// carry waits at the lane's end until it is closed.
func (l *lane) carry() {
	var b [1]byte
	for {
		if _, err := l.r.Read(b[:]); err != nil {
			return
		}
		signal(l.back)
	}
}

// pass goes along the lane once and gives up when ctx ends. It is of one goroutine at a time.
func (l *lane) pass(ctx context.Context) {
	if l == nil {
		return
	}
	if _, err := l.w.Write([]byte{0}); err != nil {
		return // closed
	}
	select {
	case <-ctx.Done():
	case <-l.back:
	}
}

func (l *lane) close() {
	if l != nil {
		l.r.Close()
		l.w.Close()
	}
}
