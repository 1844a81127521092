package afpacket

import (
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/packet"
)

// A wire is the barest forwarder: what comes in at one end goes out at the other.
type wire struct {
	ends   [2]dataplane.Queue
	raw    bool
	super  atomic.Uint64 // super-frames forwarded
	frames atomic.Uint64
	lost   atomic.Uint64
}

// run forwards until stop is set.
func (w *wire) run(stop *atomic.Bool) error {
	var frames [64]packet.Frame
	var ptrs [64]*packet.Frame
	for i := range frames {
		ptrs[i] = &frames[i]
	}
	fds := []int{w.ends[0].FD(), w.ends[1].FD()}
	for !stop.Load() {
		total := 0
		for i, in := range w.ends {
			n, err := in.Receive(frames[:])
			if err != nil {
				return err
			}
			if n == 0 {
				continue
			}
			for j := range frames[:n] {
				if frames[j].Vnet.GSOType != packet.VnetGSONone {
					w.super.Add(1)
				}
			}
			sent, err := w.ends[1-i].Transmit(ptrs[:n])
			if err != nil {
				return err
			}
			in.Release()
			w.frames.Add(uint64(sent))
			w.lost.Add(uint64(n - sent))
			total += n
		}
		if total == 0 {
			if _, err := Poll(fds, 2*time.Millisecond, w.raw); err != nil {
				return err
			}
		}
	}
	return nil
}

// through builds client - director - server, with the director's two queues as a wire
// that runs until the test ends. It returns the ends' namespaces.
func through(tb testing.TB, c Config, raw bool) (client, dir, server *ns, w *wire) {
	tb.Helper()
	client, dir, server = newNS(tb, "c"), newNS(tb, "d"), newNS(tb, "s")
	veth(tb, client, "c0", dir, "d0")
	veth(tb, server, "s0", dir, "d1")
	ip(tb, "-n", client.name, "addr", "add", "10.9.0.1/24", "dev", "c0")
	ip(tb, "-n", server.name, "addr", "add", "10.9.0.2/24", "dev", "s0")
	w = &wire{raw: raw}
	for i, name := range []string{"d0", "d1"} {
		c.Interface = name
		w.ends[i] = dir.open(c, 1)[0]
	}
	var stop atomic.Bool
	done := make(chan error, 1)
	go func() { done <- w.run(&stop) }()
	tb.Cleanup(func() {
		stop.Store(true)
		if err := <-done; err != nil {
			tb.Errorf("forwarder: %v", err)
		}
	})
	return client, dir, server, w
}

// transfer sends n bytes from client to server over TCP and fails unless they arrive.
func transfer(t *testing.T, client, server *ns, n int64) {
	t.Helper()
	var l net.Listener
	server.do(func() (err error) {
		l, err = net.Listen("tcp4", "10.9.0.2:5001")
		return err
	})
	defer l.Close()
	type result struct {
		sum [sha256.Size]byte
		n   int64
		err error
	}
	arrived := make(chan result, 1)
	go func() {
		var r result
		defer func() { arrived <- r }()
		c, err := l.Accept()
		if err != nil {
			r.err = err
			return
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(time.Minute))
		h := sha256.New()
		r.n, r.err = io.CopyBuffer(h, struct{ io.Reader }{c}, make([]byte, 256<<10))
		h.Sum(r.sum[:0])
	}()
	sent := sha256.New()
	client.do(func() error {
		c, err := net.DialTimeout("tcp4", "10.9.0.2:5001", 10*time.Second)
		if err != nil {
			return err
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(time.Minute))
		src := io.LimitReader(rand.NewChaCha8([32]byte{1}), n)
		_, err = io.CopyBuffer(struct{ io.Writer }{io.MultiWriter(c, sent)}, src, make([]byte, 256<<10))
		return err
	})
	r := <-arrived
	if r.err != nil || r.n != n || string(sent.Sum(nil)) != string(r.sum[:]) {
		t.Fatalf("%d of %d bytes arrived, same bytes: %v, error %v", r.n, n, string(sent.Sum(nil)) == string(r.sum[:]), r.err)
	}
}

// A bulk transfer arrives whole, in super-frames when the ends have offloads, and also
// through a director's interface that does not segment by itself.
func TestBulkTCP(t *testing.T) {
	const size = 200 << 20
	for _, c := range []struct {
		name     string
		mode     Mode
		raw      bool
		offloads bool // of the ends
		tso      bool // of the director's interfaces
		super    bool // super-frames expected
	}{
		{"ring", Ring, false, true, true, true},
		{"ring, raw poll", Ring, true, true, true, true},
		{"ring, no offloads", Ring, false, false, true, false},
		{"ring, director without TSO", Ring, false, true, false, true},
		{"batch", Batch, false, true, true, true},
		{"batch, no offloads", Batch, false, false, true, false},
		{"blocks", Blocks, false, true, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			client, dir, server, w := through(t, Config{Mode: c.mode}, c.raw)
			if !c.offloads {
				for _, cmd := range []uint32{setTSO, setGSO, setTx} {
					client.ethtool("c0", cmd, false)
					server.ethtool("s0", cmd, false)
				}
			}
			if !c.tso {
				for _, iface := range []string{"d0", "d1"} {
					dir.ethtool(iface, setTSO, false)
				}
			}
			start := time.Now()
			transfer(t, client, server, size)
			t.Logf("%.0f MB/s, %d frames, %d super-frames, %d lost", size/1e6/time.Since(start).Seconds(),
				w.frames.Load(), w.super.Load(), w.lost.Load())
			if got := w.super.Load(); (got > 0) != c.super {
				t.Errorf("%d super-frames, want some: %v", got, c.super)
			}
			for i, q := range w.ends {
				if s := skipsOf(q); s != (skips{}) {
					t.Errorf("end %d skipped %+v", i, s)
				}
			}
		})
	}
}

// A super-frame's HdrLen is its headers' length, whatever the kernel's skb held.
func TestSuperFrameHeaderLength(t *testing.T) {
	client, peer := newNS(t, "c"), newNS(t, "d")
	veth(t, client, "c0", peer, "d0")
	ip(t, "-n", client.name, "addr", "add", "10.9.0.1/24", "dev", "c0")
	ip(t, "-n", peer.name, "addr", "add", "10.9.0.2/24", "dev", "d0")
	var l net.Listener
	peer.do(func() (err error) {
		l, err = net.Listen("tcp4", "10.9.0.2:5001")
		return err
	})
	defer l.Close()
	q := peer.open(Config{Interface: "d0"}, 1)[0]
	client.do(func() error {
		c, err := net.DialTimeout("tcp4", "10.9.0.2:5001", 10*time.Second)
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write(make([]byte, 256<<10))
		return err
	})
	var frames [64]packet.Frame
	supers := 0
	for supers == 0 {
		n, err := q.Receive(frames[:])
		if n == 0 || err != nil {
			t.Fatalf("no super-frame (%v)", err)
		}
		for _, f := range frames[:n] {
			if f.Vnet.GSOType == packet.VnetGSONone {
				continue
			}
			supers++
			// 14 Ethernet, 20 IPv4, 20 TCP + 12 timestamps (RFC 7323 appendix A); MSS 1448.
			if v := f.Vnet; v.GSOType != packet.VnetGSOTCPv4 || v.HdrLen != 66 || v.GSOSize != 1448 || v.CsumStart != 34 || v.CsumOffset != 16 {
				t.Errorf("vnet of a super-frame: %+v", v)
			}
		}
		q.Release()
	}
}
