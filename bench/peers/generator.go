package main

import (
	"encoding/binary"
	"fmt"
	"math"
	"net"
	"net/netip"
	"runtime"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/dirigo-lb/dirigo/test/lab"
)

const (
	frameLen = 60 // 64 bytes on a cable, with the frame's own checksum
	burst    = 64 // frames of one sendmmsg(2)
	maxFlows = 1 << 24

	ethLen  = 14
	ipLen   = 20
	ipCheck = ethLen + 10
	ipSrc   = ethLen + 12
	l4      = ethLen + ipLen
)

// A generator sends small frames of many flows in turn, by bursts, with valid checksums.
// One goroutine uses it at a time.
type generator struct {
	fd     int
	flows  uint32
	next   uint32 // flow
	check  int    // offset of the transport's checksum
	ipBase uint32 // sums of what is the same in all flows, RFC 1071
	l4Base uint32

	frames [burst][frameLen]byte
	iovs   [burst]unix.Iovec
	msgs   [burst]unix.Mmsghdr
}

// newGenerator sends from dev of ns to to, by the station mac: UDP datagrams, or TCP SYNs.
func newGenerator(ns *lab.NS, dev string, mac net.HardwareAddr, to netip.AddrPort, proto byte, flows int) (*generator, error) {
	if flows < 1 || flows > maxFlows {
		return nil, fmt.Errorf("generator: %d flows: want 1 to %d", flows, maxFlows)
	}
	var fd int
	var iface *net.Interface
	var err error
	ns.Do(func() {
		if iface, err = net.InterfaceByName(dev); err == nil {
			fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		}
	})
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1)
	}
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: iface.Index})
	}
	if err != nil {
		return nil, fmt.Errorf("generator on %s: %w", dev, err)
	}
	g := &generator{fd: fd, flows: uint32(flows)}
	g.template(iface.HardwareAddr, mac, to, proto)
	return g, nil
}

// template fills all frames with what does not depend on the flow.
func (g *generator) template(from, mac net.HardwareAddr, to netip.AddrPort, proto byte) {
	f := &g.frames[0]
	copy(f[:], mac)
	copy(f[6:], from)
	binary.BigEndian.PutUint16(f[12:], unix.ETH_P_IP)
	total := frameLen - ethLen
	l4len := total - ipLen
	seg := f[l4:]
	switch proto {
	case unix.IPPROTO_UDP: // RFC 768
		g.check = l4 + 6
		binary.BigEndian.PutUint16(seg[4:], uint16(l4len))
	case unix.IPPROTO_TCP: // RFC 9293 section 3.1: a SYN without options; the rest pads the frame
		g.check, l4len, total = l4+16, 20, ipLen+20
		seg[12], seg[13] = 5<<4, 0x02
		binary.BigEndian.PutUint16(seg[14:], 0xffff)
	}
	binary.BigEndian.PutUint16(seg[2:], to.Port())
	ip := f[ethLen:]
	ip[0], ip[8], ip[9] = 0x45, 64, proto
	binary.BigEndian.PutUint16(ip[2:], uint16(total))
	dst := to.Addr().As4()
	copy(ip[16:], dst[:])
	g.ipBase = sum16(ip[:ipLen])
	g.l4Base = sum16(dst[:]) + uint32(proto) + uint32(l4len) + sum16(seg[:l4len])
	for i := range g.frames {
		g.frames[i] = *f
		g.iovs[i].Base = &g.frames[i][0]
		g.iovs[i].SetLen(frameLen)
		g.msgs[i].Hdr.Iov = &g.iovs[i]
		g.msgs[i].Hdr.SetIovlen(1)
	}
}

// set makes f a frame of a flow: its source is one of 2^20 addresses from 172.16.0.0 on,
// and one of sixteen ports.
func (g *generator) set(f *[frameLen]byte, flow uint32) {
	high, low, port := 172<<8|16+flow>>20, flow>>4&0xffff, 10000+flow&15
	binary.BigEndian.PutUint16(f[ipSrc:], uint16(high))
	binary.BigEndian.PutUint16(f[ipSrc+2:], uint16(low))
	binary.BigEndian.PutUint16(f[l4:], uint16(port))
	binary.BigEndian.PutUint16(f[ipCheck:], ^fold(g.ipBase+high+low))
	c := ^fold(g.l4Base + high + low + port)
	if c == 0 {
		c = 0xffff // UDP's zero says "no checksum", RFC 768; for TCP both are zero
	}
	binary.BigEndian.PutUint16(f[g.check:], c)
}

// sum16 is the sum of b's 16-bit words, RFC 1071, not folded; len(b) is even.
func sum16(b []byte) (s uint32) {
	for i := 0; i < len(b); i += 2 {
		s += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	return s
}

func fold(s uint32) uint16 {
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

// pace is how a generator sends: at a rate in frames a second (+Inf: as fast as it can),
// for a time or so many frames, whichever ends first.
type pace struct {
	rate   float64
	during time.Duration
	frames int         // 0: no bound
	yields bool        // to everything else on its CPU
	stop   atomic.Bool // ends it
}

const (
	// A generator wakes for no less than this many frames if it can: fewer system calls,
	// and no spinning, which would hide what the CPU has left.
	wake = 32
	// What is due beyond this after a moment without CPU is not made up for: the burst
	// would be the generator's doing, and a short receive queue would be blamed for it.
	arrears = 2 * burst
	maxNap  = time.Millisecond
)

// send sends and returns how many frames were offered and in what time. A frame that the
// far end of the cable has no room for is offered and lost.
func (g *generator) send(p *pace) (offered int, took time.Duration, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	// Threads are shared, and one that ends takes the processes it started along: so it
	// becomes an ordinary one again.
	if p.yields {
		if err := policy(unix.SCHED_IDLE); err != nil {
			return 0, 0, err
		}
		defer policy(unix.SCHED_NORMAL)
	}
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1000, 0, 0, 0)
	defer unix.Prctl(unix.PR_SET_TIMERSLACK, 0, 0, 0, 0)

	start := time.Now()
	begin := start // of the schedule: later than start when arrears were dropped
	scheduled := 0
	for {
		now := time.Now()
		took = now.Sub(start)
		if took >= p.during || p.frames > 0 && offered >= p.frames || p.stop.Load() {
			return offered, took, nil
		}
		n := burst
		if !math.IsInf(p.rate, 1) {
			due := int(now.Sub(begin).Seconds()*p.rate) - scheduled
			if due > arrears {
				begin, scheduled, due = now, 0, wake
			}
			if due < 1 {
				ts := unix.NsecToTimespec(min(int64(wake/p.rate*1e9), int64(maxNap)))
				_ = unix.Nanosleep(&ts, nil) // woken early, it looks again
				continue
			}
			n = min(due, burst)
		}
		if p.frames > 0 {
			n = min(n, p.frames-offered)
		}
		if err := g.burst(n); err != nil {
			return offered, took, err
		}
		offered += n
		scheduled += n
	}
}

// burst sends the next n frames.
func (g *generator) burst(n int) error {
	for i := range n {
		g.set(&g.frames[i], g.next)
		if g.next++; g.next == g.flows {
			g.next = 0
		}
	}
	for at := 0; at < n; {
		sent, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(g.fd), uintptr(unsafe.Pointer(&g.msgs[at])), uintptr(n-at), 0, 0, 0)
		switch errno {
		case 0:
			at += int(sent)
		case unix.ENOBUFS: // the far end's queue is full (veth_xmit: NET_XMIT_DROP)
			at++
		case unix.EINTR, unix.EAGAIN:
		default:
			return fmt.Errorf("generator: send: %w", errno)
		}
	}
	return nil
}

// policy sets the calling thread's scheduling policy.
func policy(p uint32) error {
	a := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: p}
	if err := unix.SchedSetAttr(0, &a, 0); err != nil {
		return fmt.Errorf("scheduling policy %d: %w", p, err)
	}
	return nil
}

func (g *generator) close() { unix.Close(g.fd) }
