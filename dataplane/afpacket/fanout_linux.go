package afpacket

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// fanoutFlags: frames are hashed as they are, fragments without their ports
// (PACKET_FANOUT_FLAG_DEFRAG stays off: the director sees fragments, not what the
// host's defragmenter makes of them).
const fanoutFlags = unix.PACKET_FANOUT_HASH

// Filters in classic BPF, linux/filter.h.
var (
	// refuseAll keeps a bound socket empty until all sockets of the group have joined;
	// one that received by itself before would give frames that others give too.
	refuseAll = []unix.SockFilter{
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	}
	// refuseOutgoing: load skb->pkt_type (SKF_AD_OFF+SKF_AD_PKTTYPE); PACKET_OUTGOING is
	// refused, anything else taken whole.
	refuseOutgoing = []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0xfffff000 + 4},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: unix.PACKET_OUTGOING},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0xffffffff},
	}
)

// join makes the bound and gated sockets fds one fanout group of its own and opens
// their gates.
func join(fds []int) error {
	// The group's tap replaces the sockets' own, and with it their
	// PACKET_IGNORE_OUTGOING: the group has to be told again, which kernels before
	// PACKET_FANOUT_FLAG_IGNORE_OUTGOING do not understand.
	ignores := true
	id, err := found(fds[0], fanoutFlags|unix.PACKET_FANOUT_FLAG_IGNORE_OUTGOING)
	if err == unix.EINVAL {
		ignores = false
		id, err = found(fds[0], fanoutFlags)
	}
	if err != nil {
		return fmt.Errorf("PACKET_FANOUT: %w", err)
	}
	kind := fanoutFlags
	if ignores {
		kind |= unix.PACKET_FANOUT_FLAG_IGNORE_OUTGOING
	}
	for i, fd := range fds[1:] {
		if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_FANOUT, id|kind<<16); err != nil {
			return fmt.Errorf("PACKET_FANOUT, queue %d of group %d: %w", i+1, id, err)
		}
	}
	for _, fd := range fds {
		if err := openGate(fd, ignores); err != nil {
			return err
		}
	}
	return nil
}

// found makes fd the first member of a new group and returns the group's number, which
// no other socket of the network namespace uses (PACKET_FANOUT_FLAG_UNIQUEID).
func found(fd, kind int) (id int, err error) {
	kind |= unix.PACKET_FANOUT_FLAG_UNIQUEID
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_FANOUT, kind<<16); err != nil {
		return 0, err
	}
	v, err := unix.GetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_FANOUT)
	return v & 0xffff, err // fanout_add: the number is the low half
}

// openGate lets fd receive.
func openGate(fd int, ignores bool) error {
	if !ignores {
		return setFilter(fd, refuseOutgoing)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0); err != nil {
		return fmt.Errorf("SO_DETACH_FILTER: %w", err)
	}
	return nil
}

// setFilter makes prog decide what fd receives.
func setFilter(fd int, prog []unix.SockFilter) error {
	err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]})
	if err != nil {
		return fmt.Errorf("SO_ATTACH_FILTER: %w", err)
	}
	return nil
}
