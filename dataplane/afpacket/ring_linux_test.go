package afpacket

import (
	"os"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The sizes and places the ring code counts on, asked of the running kernel where it
// can be asked.
func TestKernelLayout(t *testing.T) {
	var h unix.Tpacket2Hdr
	for name, p := range map[string][2]uintptr{
		"sizeof(tpacket2_hdr)":      {unsafe.Sizeof(h), slotAddr},
		"tp_len":                    {unsafe.Offsetof(h.Len), 4},
		"tp_snaplen":                {unsafe.Offsetof(h.Snaplen), 8},
		"tp_mac":                    {unsafe.Offsetof(h.Mac), 12},
		"tp_vlan_tci":               {unsafe.Offsetof(h.Vlan_tci), 24},
		"tp_vlan_tpid":              {unsafe.Offsetof(h.Vlan_tpid), 26},
		"sll_pkttype":               {slotAddr + unsafe.Offsetof(unix.RawSockaddrLinklayer{}.Pkttype), slotPkt},
		"sizeof(sockaddr_ll)":       {unsafe.Sizeof(unix.RawSockaddrLinklayer{}), 20},
		"sizeof(tpacket_auxdata)":   {unsafe.Sizeof(unix.TpacketAuxdata{}), 20},
		"auxdata behind cmsghdr":    {unsafe.Offsetof(auxMsg{}.data), uintptr(unix.CmsgLen(0))},
		"CMSG_SPACE of auxdata":     {unsafe.Sizeof(auxMsg{}), uintptr(unix.CmsgSpace(20))},
		"TP_STATUS_VLAN_VALID":      {statusVLANValid, unix.TP_STATUS_VLAN_VALID},
		"TP_STATUS_VLAN_TPID_VALID": {statusVLANTPIDValid, unix.TP_STATUS_VLAN_TPID_VALID},
		"PACKET_OUTGOING":           {kindOutgoing, unix.PACKET_OUTGOING},
	} {
		if p[0] != p[1] {
			t.Errorf("%s is %d, want %d", name, p[0], p[1])
		}
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	// getsockopt(PACKET_HDRLEN) takes a version and gives the size of its header.
	val, size := uint32(unix.TPACKET_V2), uint32(4)
	if _, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_PACKET, unix.PACKET_HDRLEN,
		uintptr(unsafe.Pointer(&val)), uintptr(unsafe.Pointer(&size)), 0); errno != 0 {
		t.Fatal(errno)
	}
	if val != slotAddr {
		t.Errorf("the kernel's tpacket2_hdr has %d bytes, want %d", val, slotAddr)
	}
	if err := setAll(fd, []option{{"PACKET_VNET_HDR", unix.PACKET_VNET_HDR, 1}}); err != nil {
		t.Fatal(err)
	}
	// PACKET_VNET_HDR_SZ gives the size of the vnet header in use.
	if n, err := unix.GetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR_SZ); n != vnetLen || err != nil {
		t.Errorf("the kernel's virtio_net_hdr has %d bytes (%v), want %d", n, err, vnetLen)
	}
}

// shrink halves while memory is refused, stops at its floor, and passes other errors on.
func TestShrink(t *testing.T) {
	for _, c := range []struct {
		slots, fits, want int
		fail              error
	}{
		{512, 512, 512, nil},
		{512, 200, 128, nil},
		{512, 64, 64, nil},
		{512, 8, 64, unix.ENOMEM},
		{16, 8, 16, unix.ENOMEM}, // asked for few: not fewer
		{1000, 300, 250, nil},    // 1024, 500, 250
	} {
		got, err := shrink(c.slots, 2048, func(n, block int) error {
			if n%block != 0 {
				t.Errorf("tried %d slots, not whole blocks of %d", n, block)
			}
			if n > c.fits {
				return unix.ENOMEM
			}
			return nil
		})
		if got != c.want || err != c.fail {
			t.Errorf("shrink(%d) with memory for %d = %d, %v; want %d, %v", c.slots, c.fits, got, err, c.want, c.fail)
		}
	}
	tries := 0
	if _, err := shrink(512, 2048, func(_, _ int) error { tries++; return unix.EINVAL }); err != unix.EINVAL || tries != 1 {
		t.Errorf("EINVAL: %v after %d tries, want it after one", err, tries)
	}
}

// A block is whole pages, no larger than a mebibyte if slots are not, no more than the ring
// needs, and of the power of two of pages that the kernel takes for it little is lost.
func TestBlockOf(t *testing.T) {
	page := os.Getpagesize()
	for size := minSlotSize; size <= maxSlotSize; size += slotUnit {
		for _, slots := range []int{1, 64, 1000, DefaultRingSlots, maxRingSlots} {
			block := blockOf(size, slots)
			bytes := block * size
			least := 64 // slots of an odd number of cache lines make whole pages only so many at a time
			if bytes%page != 0 || bytes > max(maxBlock, least*size) || block > max(slots, least) {
				t.Fatalf("%d slots of %d bytes: blocks of %d slots", slots, size, block)
			}
		}
	}
	taken := page
	for block := blockOf(DefaultSlotSize, DefaultRingSlots) * DefaultSlotSize; taken < block; {
		taken *= 2
	}
	if waste := float64(taken)/float64(blockOf(DefaultSlotSize, DefaultRingSlots)*DefaultSlotSize) - 1; waste > 0.15 {
		t.Errorf("%.0f%% more memory than the ring has", 100*waste)
	}
}
