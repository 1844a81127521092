package control

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/dataplane/afpacket"
)

var driverModes = map[conf.Mode]afpacket.Mode{conf.RingMode: afpacket.Ring, conf.BatchMode: afpacket.Batch, conf.BlocksMode: afpacket.Blocks}

// naps are how long a worker rests under load. The default ring lasts 8 ms at a million
// frames a second.
var naps = map[conf.Latency]time.Duration{
	conf.Balanced:   30 * time.Microsecond,
	conf.Throughput: 200 * time.Microsecond,
}

// workerNice is a worker's place among those that want a processor: see setpriority(2).
const workerNice = -10

// paceOf is how a port's frames are waited for.
func paceOf(p *conf.Port) dataplane.Pace {
	return dataplane.Pace{Spin: p.BusyPoll, Always: p.Latency == conf.Low, Nap: naps[p.Latency]}
}

// pinCPUs chooses a CPU for each worker, of those the process may use, in turn.
func pinCPUs(workers int) ([]int, error) {
	var may unix.CPUSet
	if err := unix.SchedGetaffinity(0, &may); err != nil {
		return nil, fmt.Errorf("pin workers: CPU affinity: %w", err)
	}
	var all []int
	for cpu := range len(may) * 64 {
		if may.IsSet(cpu) {
			all = append(all, cpu)
		}
	}
	cpus := make([]int, workers)
	for i := range cpus {
		cpus[i] = all[i%len(all)]
	}
	return cpus, nil
}

// work runs a worker on a thread of its own, which ends with it.
func (d *Director) work(ctx context.Context, i int, w *dataplane.Worker) error {
	runtime.LockOSThread()
	// A nap of 30us shall be one of 30us: without this the kernel adds up to 50us
	// (timer_slack_ns of proc(5)).
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("worker %d: timer slack: %w", i, err)
	}
	// Of two that want a processor the one that forwards gets it first, as packets in the
	// kernel go before all processes: health checks of thousands of servers held it up for
	// longer than a ring lasts.
	if err := unix.Setpriority(unix.PRIO_PROCESS, 0, workerNice); err != nil {
		d.log.Warn("workers have no priority", "err", err)
	}
	if d.cpus != nil {
		var one unix.CPUSet
		one.Set(d.cpus[i])
		if err := unix.SchedSetaffinity(0, &one); err != nil {
			return fmt.Errorf("worker %d: pin to CPU %d: %w", i, d.cpus[i], err)
		}
	}
	return w.Run(ctx, waiter{}, d.portFailed)
}

// waiter is what workers wait with.
type waiter struct{}

func (waiter) Wait(fds []int, timeout time.Duration, hidden bool) error {
	_, err := afpacket.Poll(fds, timeout, hidden)
	return err
}

func (waiter) Nap(d time.Duration) { afpacket.Nap(d) }
