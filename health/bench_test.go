package health

import (
	"context"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
)

type always struct{}

func (always) Probe(context.Context) Result { return Result{OK: true} }

// BenchmarkRound is the engine's cost of one probe without a network, at 10,000 targets:
// heap, goroutine, context, counting. An operation is one probe.
func BenchmarkRound(b *testing.B) {
	const targets = 10_000
	m := New(Config{Prober: func(conf.Probe, Target) (Prober, error) { return always{}, nil }})
	svc := web(conf.HealthCheck{Interval: time.Nanosecond, Rise: 1, Fall: 1, Probe: conf.Probe{Type: conf.ProbeTCP, Timeout: time.Second}}, 0)
	for i := range targets {
		svc.Servers = append(svc.Servers, conf.Server{Addr: netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), Port: 80, Weight: 1})
	}
	m.Update([]conf.Service{svc}, nil)
	ctx, stop := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	b.ReportAllocs()
	b.ResetTimer()
	go func() { ended <- m.Run(ctx) }()
	key := Asked{conf.ProbeTCP, WhyNone}
	for m.Stats().Probes[key] < uint64(b.N) {
		runtime.Gosched()
		time.Sleep(100 * time.Microsecond)
	}
	b.StopTimer()
	stop()
	if err := <-ended; err != nil {
		b.Error(err)
	}
}

// BenchmarkUpdate is the cost of an update of a service of ten servers beside 10,000 others.
func BenchmarkUpdate(b *testing.B) {
	m := New(Config{Prober: func(conf.Probe, Target) (Prober, error) { return always{}, nil }})
	var list []conf.Service
	for i := range 10_000 {
		svc := web(conf.HealthCheck{Interval: time.Second, Rise: 1, Fall: 1}, 10)
		svc.Key.Fwmark = uint32(i + 1)
		list = append(list, svc)
	}
	m.Update(list, nil)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		m.Update(list[i%len(list):][:1], nil)
	}
}
