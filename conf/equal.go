package conf

import "slices"

// Equal and Clone of what == and = do not do, because of the lists in it. Nil and empty
// lists are equal. A field that is missing here fails TestEqualKnowsEveryField.

// Equal reports whether two services with their servers, in order, and their health are
// the same.
func (s *Service) Equal(o *Service) bool {
	return s.Key == o.Key && sameDefinition(s, o) && s.Health.Equal(o.Health) &&
		slices.EqualFunc(s.Servers, o.Servers, func(a, b Server) bool { return a.Equal(&b) })
}

// Clone is a copy that shares nothing with s.
func (s *Service) Clone() Service {
	c := *s
	c.Health = s.Health.Clone()
	c.Servers = slices.Clone(s.Servers)
	for i := range c.Servers {
		c.Servers[i] = c.Servers[i].Clone()
	}
	return c
}

// Equal reports whether two servers with their checks are the same; nil is no server.
func (d *Server) Equal(o *Server) bool {
	return sameServer(d, o) && (d == nil || slices.Equal(d.Checks, o.Checks))
}

// sameServer compares two servers without their checks; nil is no server.
func sameServer(a, b *Server) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Name == b.Name && a.Addr == b.Addr && a.Port == b.Port && a.Forward == b.Forward &&
		a.Weight == b.Weight && a.Upper == b.Upper && a.Lower == b.Lower &&
		a.TunType == b.TunType && a.TunPort == b.TunPort && a.TunFlags == b.TunFlags
}

// Clone is a copy that shares nothing with d.
func (d *Server) Clone() Server {
	c := *d
	c.Checks = slices.Clone(d.Checks)
	return c
}

// Equal reports whether two services are judged in the same way; nil is unchecked.
func (h *Health) Equal(o *Health) bool {
	if h == nil || o == nil {
		return h == o
	}
	return slices.Equal(h.Checks, o.Checks) && h.OnFailure == o.OnFailure && h.Connections == o.Connections &&
		h.Templates == o.Templates && h.SlowStart == o.SlowStart && h.Flap == o.Flap && h.Passive == o.Passive &&
		h.Quorum == o.Quorum && h.Hysteresis == o.Hysteresis && h.Sorry.Equal(o.Sorry) &&
		h.SorryKeep == o.SorryKeep && h.Notify.Equal(&o.Notify)
}

// Clone is a copy that shares nothing with h; nil of nil.
func (h *Health) Clone() *Health {
	if h == nil {
		return nil
	}
	c := *h
	c.Checks = slices.Clone(h.Checks)
	c.Notify.Mail = slices.Clone(h.Notify.Mail)
	if h.Sorry != nil {
		sorry := h.Sorry.Clone()
		c.Sorry = &sorry
	}
	return &c
}

// Equal reports whether the same people and programs are told of the same changes.
func (n *Notify) Equal(o *Notify) bool {
	return n.Up == o.Up && n.Down == o.Down && n.QuorumUp == o.QuorumUp && n.QuorumDown == o.QuorumDown &&
		n.Any == o.Any && n.Webhook == o.Webhook && slices.Equal(n.Mail, o.Mail) && n.MailFrom == o.MailFrom &&
		n.MailServer == o.MailServer && n.MailEvery == o.MailEvery
}
