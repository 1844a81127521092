package fastpath

import (
	"encoding/binary"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// Offsets of struct __sk_buff, linux/bpf.h; flags of bpf_l4_csum_replace; what tcx programs
// return when the packet is not theirs.
const (
	skbData, skbDataEnd = 76, 80
	pseudoHeader        = 1 << 4 // BPF_F_PSEUDO_HDR
	noneStaysNone       = 1 << 5 // BPF_F_MARK_MANGLED_0: UDP's 0 is no checksum, RFC 768
	tcxPass             = 0
)

// Offsets of a packet with an IPv4 header without options.
const (
	eth, ip, l4 = 0, 14, 34

	ipFragment, ipTTL, ipProto, ipCheck, ipSrc, ipDst = ip + 6, ip + 8, ip + 9, ip + 10, ip + 12, ip + 16

	needed             = l4 + 8 // of TCP only the ports: the helper looks for its checksum itself
	udpCheck           = l4 + 6
	tcpCheck           = l4 + 16
	protoTCP, protoUDP = 6, 17
)

// The stack, from the frame pointer down.
const (
	stackKey   = -keySize
	stackEntry = stackKey - entrySize
	stackBack  = stackEntry - keySize // the answers' key
)

// learn is how flows to the VIP that are not in the table get there. Of the entries the
// client's address and the ports are left out.
type learn struct {
	vip, server     [4]byte
	request, answer entry
}

// load makes the program over a table. R6 is the packet's context, R7 where it begins,
// R8 where it ends, R9 its flow's entry.
func load(flows *ebpf.Map, l learn) (*ebpf.Program, error) {
	var code asm.Instructions
	for _, part := range [][]asm.Instruction{parse(), find(flows), {asm.JNE.Imm(asm.R0, 0, "found")}, l.enter(flows), find(flows),
		{asm.JEq.Imm(asm.R0, 0, "pass")}, rewrite(), {asm.Mov.Imm(asm.R0, tcxPass).WithSymbol("pass"), asm.Return()}} {
		code = append(code, part...)
	}
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "fastpath", Type: ebpf.SchedCLS, License: "GPL", Instructions: code})
	if err != nil {
		return nil, fmt.Errorf("load the program: %w", err)
	}
	return p, nil
}

// parse leaves the packet's key on the stack: TCP and UDP over IPv4, whole, with a hop to
// go.
func parse() []asm.Instruction {
	return []asm.Instruction{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.LoadMem(asm.R7, asm.R6, skbData, asm.Word),
		asm.LoadMem(asm.R8, asm.R6, skbDataEnd, asm.Word),
		asm.Mov.Reg(asm.R1, asm.R7),
		asm.Add.Imm(asm.R1, needed),
		asm.JGT.Reg(asm.R1, asm.R8, "pass"),
		asm.LoadMem(asm.R1, asm.R7, 12, asm.Half),
		asm.JNE.Imm(asm.R1, word16(8, 0), "pass"),
		asm.LoadMem(asm.R1, asm.R7, ip, asm.Byte),
		asm.JNE.Imm(asm.R1, 0x45, "pass"),
		asm.LoadMem(asm.R1, asm.R7, ipFragment, asm.Half),
		asm.JSet.Imm(asm.R1, word16(0x3f, 0xff), "pass"), // offset and "more"
		asm.LoadMem(asm.R1, asm.R7, ipTTL, asm.Byte),
		asm.JLE.Imm(asm.R1, 1, "pass"),
		asm.LoadMem(asm.R1, asm.R7, ipProto, asm.Byte),
		asm.JEq.Imm(asm.R1, protoUDP, "ours"),
		asm.JNE.Imm(asm.R1, protoTCP, "pass"),
		asm.StoreMem(asm.RFP, stackKey+12, asm.R1, asm.Word).WithSymbol("ours"),
		asm.LoadMem(asm.R1, asm.R7, ipSrc, asm.Word),
		asm.StoreMem(asm.RFP, stackKey, asm.R1, asm.Word),
		asm.LoadMem(asm.R1, asm.R7, ipDst, asm.Word),
		asm.StoreMem(asm.RFP, stackKey+4, asm.R1, asm.Word),
		asm.LoadMem(asm.R1, asm.R7, l4, asm.Word),
		asm.StoreMem(asm.RFP, stackKey+8, asm.R1, asm.Word),
	}
}

// find leaves the key's entry, or 0, in R0.
func find(flows *ebpf.Map) []asm.Instruction {
	return []asm.Instruction{
		asm.LoadMapPtr(asm.R1, flows.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, stackKey),
		asm.FnMapLookupElem.Call(),
	}
}

// enter enters both directions of a flow to the VIP.
func (l learn) enter(flows *ebpf.Map) (code []asm.Instruction) {
	move := func(to, from int16, size asm.Size) {
		code = append(code, asm.LoadMem(asm.R1, asm.RFP, from, size), asm.StoreMem(asm.RFP, to, asm.R1, size))
	}
	whole := func(e entry) {
		b, _ := binary.Append(nil, binary.NativeEndian, e) // of fixed size: no error
		for i := 0; i < entrySize; i += 8 {
			code = append(code, asm.LoadImm(asm.R1, int64(binary.NativeEndian.Uint64(b[i:])), asm.DWord),
				asm.StoreMem(asm.RFP, int16(stackEntry+i), asm.R1, asm.DWord))
		}
	}
	put := func(key int32) {
		code = append(code,
			asm.LoadMapPtr(asm.R1, flows.FD()),
			asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, key),
			asm.Mov.Reg(asm.R3, asm.RFP), asm.Add.Imm(asm.R3, stackEntry),
			asm.Mov.Imm(asm.R4, 0), // BPF_ANY
			asm.FnMapUpdateElem.Call())
	}
	code = append(code, asm.LoadMem(asm.R1, asm.RFP, stackKey+4, asm.Word), asm.JNE.Imm32(asm.R1, word32(l.vip), "pass"))

	whole(l.request)
	move(stackEntry+entrySrc, stackKey, asm.Word)
	move(stackEntry+entryPorts, stackKey+8, asm.Word)
	put(stackKey)

	whole(l.answer)
	move(stackEntry+entryDst, stackKey, asm.Word)
	move(stackEntry+entryPorts, stackKey+10, asm.Half)
	move(stackEntry+entryPorts+2, stackKey+8, asm.Half)
	code = append(code, asm.StoreImm(asm.RFP, stackBack, int64(word32(l.server)), asm.Word))
	move(stackBack+4, stackKey, asm.Word)
	move(stackBack+8, stackKey+10, asm.Half)
	move(stackBack+10, stackKey+8, asm.Half)
	move(stackBack+12, stackKey+12, asm.Word)
	put(stackBack)
	return code
}

// rewrite does what R0, the entry, says and sends the packet.
func rewrite() (code []asm.Instruction) {
	code = append(code, asm.Mov.Reg(asm.R9, asm.R0).WithSymbol("found"),
		asm.Mov.Imm(asm.R1, 1),
		asm.AddAtomic.Mem(asm.R9, asm.R1, asm.DWord, entryPackets))
	for _, c := range []struct{ to, from int16 }{{eth, entryMACs}, {eth + 4, entryMACs + 4}, {eth + 8, entryMACs + 8},
		{ipSrc, entrySrc}, {ipDst, entryDst}, {l4, entryPorts}} {
		code = append(code, asm.LoadMem(asm.R1, asm.R9, c.from, asm.Word), asm.StoreMem(asm.R7, c.to, asm.R1, asm.Word))
	}
	fold := []asm.Instruction{asm.Mov.Reg(asm.R2, asm.R1), asm.RSh.Imm(asm.R2, 16), asm.And.Imm(asm.R1, 0xffff), asm.Add.Reg(asm.R1, asm.R2)}
	code = append(code,
		asm.LoadMem(asm.R1, asm.R7, ipTTL, asm.Byte),
		asm.Sub.Imm(asm.R1, 1),
		asm.StoreMem(asm.R7, ipTTL, asm.R1, asm.Byte),
		asm.LoadMem(asm.R1, asm.R7, ipCheck, asm.Half),
		asm.Xor.Imm(asm.R1, 0xffff),
		asm.LoadMem(asm.R2, asm.R9, entryIPDiff, asm.Word),
		asm.Add.Reg(asm.R1, asm.R2))
	code = append(append(code, fold...), fold...)
	code = append(code,
		asm.Xor.Imm(asm.R1, 0xffff),
		asm.StoreMem(asm.R7, ipCheck, asm.R1, asm.Half))

	// The transport's checksum may be unfinished, which only the helper knows. It may move
	// the packet, so R7 ends here; R7 and R8 are now where the checksum is and the flags.
	code = append(code,
		asm.LoadMem(asm.R1, asm.RFP, stackKey+12, asm.Word),
		asm.Mov.Imm(asm.R7, tcpCheck),
		asm.Mov.Imm(asm.R8, 0),
		asm.JEq.Imm(asm.R1, protoTCP, "checksums"),
		asm.Mov.Imm(asm.R7, udpCheck),
		asm.Mov.Imm(asm.R8, noneStaysNone))
	replace := func(diff int16, flags int32) []asm.Instruction {
		return []asm.Instruction{
			asm.Mov.Reg(asm.R1, asm.R6),
			asm.Mov.Reg(asm.R2, asm.R7),
			asm.Mov.Imm(asm.R3, 0), // a difference, not two values
			asm.LoadMem(asm.R4, asm.R9, diff, asm.Word),
			asm.Mov.Reg(asm.R5, asm.R8),
			asm.Or.Imm(asm.R5, flags),
			asm.FnL4CsumReplace.Call(),
		}
	}
	address := replace(entryAddrDiff, pseudoHeader)
	address[0] = address[0].WithSymbol("checksums")
	code = append(append(code, address...), replace(entryPortDiff, 0)...)
	return append(code,
		asm.LoadMem(asm.R1, asm.R9, entryDevice, asm.Word),
		asm.Mov.Imm(asm.R2, 0),
		asm.FnRedirect.Call(),
		asm.Return())
}

// word16 and word32 are how the host loads bytes.
func word16(a, b byte) int32    { return int32(binary.NativeEndian.Uint16([]byte{a, b})) }
func word32(addr [4]byte) int32 { return int32(binary.NativeEndian.Uint32(addr[:])) }
