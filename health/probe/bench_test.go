package probe

import (
	"context"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/health"
	"github.com/dirigo-lb/dirigo/test/lab"
)

// Processor time of this process for one probe of an nginx, which is another: with 10,000
// targets at one second, cpu-µs/op is the percentage of a core, times 100.
func BenchmarkHTTP(b *testing.B) {
	benchmark(b, conf.Probe{Type: conf.ProbeHTTP, Body: "hello"}, Plain{Sockets: newSockets(b)})
}
func BenchmarkHTTPNewSockets(b *testing.B) {
	benchmark(b, conf.Probe{Type: conf.ProbeHTTP, Body: "hello"}, Plain{})
}
func BenchmarkHTTP2(b *testing.B) {
	benchmark(b, conf.Probe{Type: conf.ProbeHTTP, HTTP: "2"}, Plain{})
}
func BenchmarkHTTPKept(b *testing.B) {
	benchmark(b, conf.Probe{Type: conf.ProbeHTTP, Body: "hello", Connection: "kept"}, Plain{Sockets: newSockets(b)})
}
func BenchmarkTCP(b *testing.B) { benchmark(b, conf.Probe{Type: conf.ProbeTCP}, Plain{}) }

func benchmark(b *testing.B, p conf.Probe, by Dialer) {
	at := startBenchServer(b, p.HTTP == "2")
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	const together = 50
	var probers []health.Prober
	for range together {
		x, err := New(p, health.Target{Addr: at.Addr(), Port: at.Port()}, by)
		if err != nil {
			b.Fatal(err)
		}
		probers = append(probers, x)
	}
	b.ReportAllocs()
	b.ResetTimer()
	start := processorTime(b)
	var all sync.WaitGroup
	for i, x := range probers {
		all.Go(func() {
			for range (b.N + i) / together {
				ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
				if r := x.Probe(ctx); !r.OK {
					b.Errorf("%s: %s", r.Why, r.Text)
				}
				cancel()
			}
		})
	}
	all.Wait()
	b.ReportMetric(float64((processorTime(b)-start).Nanoseconds())/1e3/float64(b.N), "cpu-µs/op")
}

func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// startBenchServer starts an nginx that gives a short page.
func startBenchServer(b *testing.B, http2 bool) netip.AddrPort {
	d := &daemon{t: b, dir: openDir(b), out: &lab.Text{}, done: make(chan struct{})}
	at := freePort(b)
	listen := at.String()
	if http2 {
		listen += " http2"
	}
	d.start(nil, "nginx", "-e", "stderr", "-p", d.dir, "-c", d.file("nginx.conf", "daemon off; worker_processes 1; pid DIR/pid; error_log stderr crit; user root;\n"+
		"events { worker_connections 1024; }\nhttp { access_log off; client_body_temp_path DIR/1; proxy_temp_path DIR/2; fastcgi_temp_path DIR/3;\n"+
		"uwsgi_temp_path DIR/4; scgi_temp_path DIR/5; server { listen "+listen+"; location / { return 200 \"hello, world\\n\"; } } }\n"))
	d.until(asked{"start", conf.Probe{Type: conf.ProbeTCP}, at, ""}, enough)
	return at
}
