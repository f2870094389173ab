// Command logcheck checks a Hullmark log with none of Hullmark's code: golang.org/x/mod/sumdb (the Go checksum database's client
// library) and transparency-dev/tessera's client and fsck each verify the same checkpoint, tiles, entries and proofs.
//
//	logcheck -dir DIRECTORY|-url PREFIX -key FILE [-since CHECKPOINT]
//
// It prints one JSON line; exit 1 says what does not hold.
package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/transparency-dev/formats/log"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/client"
	"github.com/transparency-dev/tessera/fsck"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// maxProofs bounds how many entries get a proof each; more are sampled evenly.
const maxProofs = 512

type report struct {
	Origin        string `json:"origin"`
	Size          uint64 `json:"size"`
	Root          string `json:"root"`
	SumdbProofs   int    `json:"sumdbProofs"`
	TesseraProofs int    `json:"tesseraProofs"`
	Consistency   bool   `json:"consistency"`
}

func main() {
	dir := flag.String("dir", "", "exported log")
	prefix := flag.String("url", "", "served log")
	keyFile := flag.String("key", "", "verifier key")
	since := flag.String("since", "", "remembered checkpoint")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	result, err := run(ctx, *dir, *prefix, *keyFile, *since)
	if err != nil {
		fmt.Fprintln(os.Stderr, "logcheck:", err)
		os.Exit(1)
	}
	_ = json.NewEncoder(os.Stdout).Encode(result)
}

func run(ctx context.Context, dir, prefix, keyFile, since string) (*report, error) {
	key, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, err
	}
	verifier, err := note.NewVerifier(strings.TrimSpace(string(key)))
	if err != nil {
		return nil, err
	}
	var fetcher fsck.Fetcher = client.FileFetcher{Root: dir}
	if prefix != "" {
		root, err := url.Parse(prefix)
		if err != nil {
			return nil, err
		}
		if fetcher, err = client.NewHTTPFetcher(root, http.DefaultClient); err != nil {
			return nil, err
		}
	}
	checkpoint, _, _, err := client.FetchCheckpoint(ctx, fetcher.ReadCheckpoint, verifier, verifier.Name())
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	var old *log.Checkpoint
	if since != "" {
		raw, err := os.ReadFile(since)
		if err != nil {
			return nil, err
		}
		if old, _, _, err = log.ParseCheckpoint(raw, verifier.Name(), verifier); err != nil {
			return nil, fmt.Errorf("remembered checkpoint: %w", err)
		}
	}
	result := &report{Origin: checkpoint.Origin, Size: checkpoint.Size, Root: base64.StdEncoding.EncodeToString(checkpoint.Hash), Consistency: old != nil}
	if err := fsck.New(verifier.Name(), verifier, fetcher, hashBundle, fsck.Opts{N: 2}).Check(ctx); err != nil {
		return nil, fmt.Errorf("tessera fsck: %w", err)
	}
	leaves, err := leafHashes(ctx, fetcher, checkpoint.Size)
	if err != nil {
		return nil, err
	}
	if result.SumdbProofs, err = checkWithSumdb(ctx, fetcher, checkpoint, old, leaves); err != nil {
		return nil, fmt.Errorf("sumdb: %w", err)
	}
	if result.TesseraProofs, err = checkWithTessera(ctx, fetcher, checkpoint, old, leaves); err != nil {
		return nil, fmt.Errorf("tessera: %w", err)
	}
	return result, nil
}

func hashBundle(bundle []byte) ([][]byte, error) {
	parsed := &api.EntryBundle{}
	if err := parsed.UnmarshalText(bundle); err != nil {
		return nil, err
	}
	hashes := make([][]byte, 0, len(parsed.Entries))
	for _, entry := range parsed.Entries {
		hashes = append(hashes, rfc6962.DefaultHasher.HashLeaf(entry))
	}
	return hashes, nil
}

// leafHashes hashes every entry, so that proofs are over what the entries say and not over what level 0 claims.
func leafHashes(ctx context.Context, fetcher fsck.Fetcher, size uint64) ([][]byte, error) {
	var leaves [][]byte
	for bundle := uint64(0); bundle*256 < size; bundle++ {
		entries, err := client.GetEntryBundle(ctx, fetcher.ReadEntryBundle, bundle, size)
		if err != nil {
			return nil, err
		}
		for _, entry := range entries.Entries {
			leaves = append(leaves, rfc6962.DefaultHasher.HashLeaf(entry))
		}
	}
	if uint64(len(leaves)) < size {
		return nil, fmt.Errorf("%d entries, checkpoint says %d", len(leaves), size)
	}
	return leaves[:size], nil
}

// tiles serves tlog.TileReader from the same resources: level, index and width are the same there, only the path is not.
type tiles struct {
	ctx     context.Context
	fetcher fsck.Fetcher
}

func (tiles) Height() int                     { return 8 }
func (tiles) SaveTiles([]tlog.Tile, [][]byte) {}
func (t tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	var out [][]byte
	for _, tile := range wanted {
		data, err := t.fetcher.ReadTile(t.ctx, uint64(tile.L), uint64(tile.N), uint8(tile.W%256))
		if err != nil {
			return nil, err
		}
		out = append(out, data)
	}
	return out, nil
}

func checkWithSumdb(ctx context.Context, fetcher fsck.Fetcher, checkpoint, old *log.Checkpoint, leaves [][]byte) (int, error) {
	size := int64(checkpoint.Size)
	tree := tlog.Tree{N: size, Hash: tlog.Hash(checkpoint.Hash)}
	hashes := tlog.TileHashReader(tree, tiles{ctx, fetcher})
	if size > 0 {
		root, err := tlog.TreeHash(size, hashes)
		if err != nil {
			return 0, err
		}
		if root != tree.Hash {
			return 0, fmt.Errorf("root %v, want %v", root, tree.Hash)
		}
	}
	count := 0
	for index := int64(0); index < size; index += 1 + size/maxProofs {
		p, err := tlog.ProveRecord(size, index, hashes)
		if err != nil {
			return 0, err
		}
		if err := tlog.CheckRecord(p, size, tree.Hash, index, tlog.Hash(leaves[index])); err != nil {
			return 0, fmt.Errorf("entry %d: %w", index, err)
		}
		count++
	}
	if old != nil && old.Size > 0 {
		p, err := tlog.ProveTree(size, int64(old.Size), hashes)
		if err != nil {
			return 0, err
		}
		if err := tlog.CheckTree(p, size, tree.Hash, int64(old.Size), tlog.Hash(old.Hash)); err != nil {
			return 0, fmt.Errorf("from size %d: %w", old.Size, err)
		}
	}
	return count, nil
}

func checkWithTessera(ctx context.Context, fetcher fsck.Fetcher, checkpoint, old *log.Checkpoint, leaves [][]byte) (int, error) {
	if checkpoint.Size == 0 {
		return 0, nil
	}
	builder, err := client.NewProofBuilder(ctx, checkpoint.Size, fetcher.ReadTile)
	if err != nil {
		return 0, err
	}
	count := 0
	for index := uint64(0); index < checkpoint.Size; index += 1 + checkpoint.Size/maxProofs {
		p, err := builder.InclusionProof(ctx, index)
		if err != nil {
			return 0, err
		}
		if err := proof.VerifyInclusion(rfc6962.DefaultHasher, index, checkpoint.Size, leaves[index], p, checkpoint.Hash); err != nil {
			return 0, fmt.Errorf("entry %d: %w", index, err)
		}
		count++
	}
	if old != nil && old.Size > 0 {
		p, err := builder.ConsistencyProof(ctx, old.Size, checkpoint.Size)
		if err != nil {
			return 0, err
		}
		if err := proof.VerifyConsistency(rfc6962.DefaultHasher, old.Size, checkpoint.Size, p, old.Hash, checkpoint.Hash); err != nil {
			return 0, fmt.Errorf("from size %d: %w", old.Size, err)
		}
	}
	return count, nil
}
