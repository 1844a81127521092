package probe

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// recordTypes are the types that can be asked for by name (IANA's DNS parameters); every
// other one by number, as TYPE65280 (RFC 3597 section 5).
var recordTypes = map[string]dnsmessage.Type{
	"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "PTR": 12, "HINFO": 13, "MX": 15, "TXT": 16, "RP": 17, "AFSDB": 18,
	"AAAA": 28, "LOC": 29, "SRV": 33, "NAPTR": 35, "CERT": 37, "DNAME": 39, "DS": 43, "SSHFP": 44, "RRSIG": 46,
	"NSEC": 47, "DNSKEY": 48, "NSEC3": 50, "NSEC3PARAM": 51, "TLSA": 52, "SMIMEA": 53, "CDS": 59, "CDNSKEY": 60,
	"OPENPGPKEY": 61, "CSYNC": 62, "ZONEMD": 63, "SVCB": 64, "HTTPS": 65, "SPF": 99, "ANY": 255, "URI": 256, "CAA": 257,
}

func recordType(name string) (dnsmessage.Type, error) {
	upper := strings.ToUpper(name)
	if t, ok := recordTypes[upper]; ok {
		return t, nil
	}
	if number, ok := strings.CutPrefix(upper, "TYPE"); ok {
		if n, err := strconv.ParseUint(number, 10, 16); err == nil {
			return dnsmessage.Type(n), nil
		}
	}
	return 0, fmt.Errorf("record %q: no such DNS type", name)
}

// recordText reads the record whose header is h and writes its data as in a zone file;
// data of a type that is not known here as RFC 3597 section 5 does.
func recordText(p *dnsmessage.Parser, h dnsmessage.ResourceHeader) (string, error) {
	switch h.Type {
	case dnsmessage.TypeA:
		r, err := p.AResource()
		return netip.AddrFrom4(r.A).String(), err
	case dnsmessage.TypeAAAA:
		r, err := p.AAAAResource()
		return netip.AddrFrom16(r.AAAA).String(), err
	case dnsmessage.TypeNS:
		r, err := p.NSResource()
		return r.NS.String(), err
	case dnsmessage.TypeCNAME:
		r, err := p.CNAMEResource()
		return r.CNAME.String(), err
	case dnsmessage.TypePTR:
		r, err := p.PTRResource()
		return r.PTR.String(), err
	case dnsmessage.TypeMX:
		r, err := p.MXResource()
		return fmt.Sprint(r.Pref, " ", r.MX), err
	case dnsmessage.TypeSRV:
		r, err := p.SRVResource()
		return fmt.Sprint(r.Priority, " ", r.Weight, " ", r.Port, " ", r.Target), err
	case dnsmessage.TypeSOA:
		r, err := p.SOAResource()
		return fmt.Sprint(r.NS, " ", r.MBox, " ", r.Serial, " ", r.Refresh, " ", r.Retry, " ", r.Expire, " ", r.MinTTL), err
	case dnsmessage.TypeTXT:
		r, err := p.TXTResource()
		return strings.Join(r.TXT, ""), err
	}
	r, err := p.UnknownResource()
	return fmt.Sprintf(`\# %d %x`, len(r.Data), r.Data), err
}
