package xdp

import (
	"encoding/binary"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// Offsets of struct xdp_md, linux/bpf.h, and XDP actions.
const (
	mdData, mdDataEnd, mdQueue = 0, 4, 16
	xdpPass                    = 2
)

// program sends IPv4 frames that have an address at an offset from the IP header to the
// socket of their queue in sockets; the rest is the host's.
func program(sockets *ebpf.Map, at int, addr [4]byte) (*ebpf.Program, error) {
	const eth, header = 14, 34
	word := int32(binary.NativeEndian.Uint32(addr[:]))
	ipv4 := int32(binary.NativeEndian.Uint16([]byte{8, 0}))
	return ebpf.NewProgram(&ebpf.ProgramSpec{Name: "bare", Type: ebpf.XDP, License: "GPL", Instructions: asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, mdData, asm.Word),
		asm.LoadMem(asm.R3, asm.R1, mdDataEnd, asm.Word),
		asm.Mov.Reg(asm.R4, asm.R2),
		asm.Add.Imm(asm.R4, header),
		asm.JGT.Reg(asm.R4, asm.R3, "pass"),
		asm.LoadMem(asm.R4, asm.R2, 12, asm.Half),
		asm.JNE.Imm(asm.R4, ipv4, "pass"),
		asm.LoadMem(asm.R4, asm.R2, int16(eth+at), asm.Word),
		asm.JNE.Imm32(asm.R4, word, "pass"),
		asm.LoadMem(asm.R2, asm.R1, mdQueue, asm.Word),
		asm.LoadMapPtr(asm.R1, sockets.FD()),
		asm.Mov.Imm(asm.R3, xdpPass), // where there is no socket
		asm.FnRedirectMap.Call(),
		asm.Return(),
		asm.Mov.Imm(asm.R0, xdpPass).WithSymbol("pass"),
		asm.Return(),
	}})
}
