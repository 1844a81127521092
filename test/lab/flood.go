package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Flood sends UDP datagrams at a steady rate, each the next one of many flows, and
// counts them exactly.
type Flood struct {
	To    netip.AddrPort   // IPv4
	MAC   net.HardwareAddr // of the next hop
	Flows int              // each has a source of its own in 172.16.0.0/12
	Rate  int              // datagrams a second
	Total int              // how many; 0: until Stop

	sent atomic.Int64
	stop atomic.Bool
	done chan struct{}
	err  error // after done
}

// What was missed while the sender had no processor is made up for, up to floodDebt of it:
// in each turn goes what is due in two milliseconds, which is several times the rate and no
// burst that overruns a queue on the way.
const (
	floodDebt = 250 * time.Millisecond
	floodTurn = 2 * time.Millisecond
)

// floodBatch is how many are sent by one call, so that the sender takes little of a
// processor that it shares with what is measured.
const floodBatch = 64

// Start sends from an interface of the namespace until Total, Stop or the end of the test.
func (f *Flood) Start(n *NS, dev string) *Flood {
	n.t.Helper()
	var fd int
	var iface *net.Interface
	var err error
	n.Do(func() {
		if iface, err = net.InterfaceByName(dev); err == nil {
			fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		}
	})
	if err == nil {
		err = errors.Join(unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1),
			unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: iface.Index})) // of no protocol: nothing comes in
	}
	if err != nil {
		n.t.Fatalf("%s: flood: %v", n.Role, err)
	}
	f.done = make(chan struct{})
	go func() {
		defer close(f.done)
		defer unix.Close(fd)
		f.err = f.run(fd, iface.HardwareAddr)
	}()
	n.t.Cleanup(func() { f.Stop() })
	return f
}

func (f *Flood) run(fd int, from net.HardwareAddr) error {
	var frames [floodBatch][]byte
	var parts [floodBatch]unix.Iovec
	var msgs [floodBatch]unix.Mmsghdr
	for i := range frames {
		frames[i] = f.frame(from)
		parts[i].Base = &frames[i][0]
		parts[i].SetLen(len(frames[i]))
		msgs[i].Hdr.Iov = &parts[i]
		msgs[i].Hdr.SetIovlen(1)
	}
	start := time.Now()
	for !f.stop.Load() {
		sent := int(f.sent.Load())
		due := int(time.Since(start).Seconds()*float64(f.Rate)) - sent
		if debt := f.in(floodDebt); due > debt {
			start = start.Add(time.Duration(due-debt) * time.Second / time.Duration(f.Rate))
		}
		due = min(due, f.in(floodTurn))
		if f.Total > 0 {
			due = min(due, f.Total-sent)
		}
		for due > 0 {
			batch := min(due, floodBatch)
			for i := range batch {
				f.from(frames[i], (sent+i)%f.Flows)
			}
			n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&msgs)), uintptr(batch), 0, 0, 0)
			if errno == unix.ENOBUFS { // the peer had no room: it is not sent
				break
			} else if errno != 0 {
				return fmt.Errorf("sendmmsg: %w", errno)
			}
			sent += int(n)
			due -= int(n)
		}
		f.sent.Store(int64(sent))
		if sent == f.Total && f.Total > 0 {
			return nil
		}
		time.Sleep(500 * time.Microsecond)
	}
	return nil
}

// in is how many are due in a time, at least a batch.
func (f *Flood) in(t time.Duration) int { return max(floodBatch, int(t.Seconds()*float64(f.Rate))) }

// frame is a datagram without its source: Ethernet, IPv4, UDP without a checksum, and
// 18 bytes, which make 64 with the frame's own checksum.
func (f *Flood) frame(from net.HardwareAddr) []byte {
	b := make([]byte, 14+20+8+18)
	copy(b, f.MAC)
	copy(b[6:], from)
	b[12] = 8
	ip := b[14:]
	ip[0], ip[8], ip[9] = 0x45, 64, unix.IPPROTO_UDP
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	dst := f.To.Addr().As4()
	copy(ip[16:], dst[:])
	binary.BigEndian.PutUint16(ip[22:], f.To.Port())
	binary.BigEndian.PutUint16(ip[24:], uint16(len(ip)-20))
	return b
}

// from makes the datagram one of a flow.
func (f *Flood) from(frame []byte, flow int) {
	ip := frame[14:]
	binary.BigEndian.PutUint32(ip[12:], 172<<24|16<<16+uint32(flow>>4))
	binary.BigEndian.PutUint16(ip[20:], uint16(10000+flow&15))
	ip[10], ip[11] = 0, 0
	var sum uint32
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum))
}

// Sent is how many have been sent so far.
func (f *Flood) Sent() int { return int(f.sent.Load()) }

// Wait waits until Total is sent.
func (f *Flood) Wait() (sent int, err error) {
	<-f.done
	return f.Sent(), f.err
}

// Stop ends the flood.
func (f *Flood) Stop() (sent int, err error) {
	f.stop.Store(true)
	return f.Wait()
}

// Sink counts the UDP datagrams that come to a port of the namespace, and drops them. The
// kernel counts: nothing that runs here can be too slow for it.
func (n *NS) Sink(port uint16) (count func() int) {
	n.t.Helper()
	table := fmt.Sprintf("sink%d", serial.Add(1))
	n.Must("nft", fmt.Sprintf("add table ip %[1]s; add counter ip %[1]s seen; add chain ip %[1]s in { type filter hook prerouting priority raw; }; add rule ip %[1]s in udp dport %[2]d counter name seen drop", table, port))
	return func() int {
		n.t.Helper()
		var packets int
		out := n.Must("nft", "list", "counter", "ip", table, "seen")
		if _, err := fmt.Sscanf(out[strings.Index(out, "packets"):], "packets %d", &packets); err != nil {
			n.t.Fatalf("%s: %v: %s", n.Role, err, out)
		}
		return packets
	}
}
