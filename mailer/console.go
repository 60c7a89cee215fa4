package mailer

import (
	"context"
	"fmt"
	"io"
	"sync"

	"example.com/recovery"
)

var _ recovery.Mailer = (*Console)(nil)

// A Console is a [recovery.Mailer] that writes mails to a terminal. It is for examples and
// development only: it shows tokens to whoever reads its output.
type Console struct {
	renderer *Renderer
	mu       sync.Mutex
	w        io.Writer
}

// NewConsole returns a Console that writes to w what r renders. Both must be given.
func NewConsole(w io.Writer, r *Renderer) *Console {
	if w == nil || r == nil {
		panic("mailer: NewConsole needs a writer and a Renderer")
	}
	return &Console{renderer: r, w: w}
}

// Send writes the recipient, the subject and the text part of m, in one call of Write, one mail at
// a time. Its errors are those of ctx, [Renderer.Render] and the writer.
func (c *Console) Send(ctx context.Context, m recovery.Message) error {
	mail, err := c.renderer.Render(m)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(c.w, "To: %s\nSubject: %s\n\n%s\n", mail.To, mail.Subject, mail.Text); err != nil {
		return fmt.Errorf("mailer: console: %w", err)
	}
	return nil
}
