/*
 * Undertone, phases ShareKeys to Unmask of one round, under an aggregator that lies.
 *
 * check.sh runs this model through spin, once with the rules of the protocol and once for each rule
 * that is broken on purpose. README.md has the table of results.
 *
 * WHO IS WHO. N clients, positions 0 to N - 1 of the directory. The first H = N - C are honest and
 * are processes. The last C are corrupt: they are one with the aggregator, which knows all they
 * hold and signs anything in their name. The aggregator is no process: each nondeterministic choice
 * below is its choice (what to show to whom, when, what to forward, whom to restart, whom to leave
 * waiting for ever), and spin tries all of them in all orders.
 *
 * WHAT IS MODELLED. Which directory, U2 and U3 each client is shown; the checks a client makes on
 * them; its one statement; the statements forwarded to it, repeated or left out at will; its one
 * answer; a restart between any two steps. Shares are counted, one bit for each (dealer, kind,
 * holder).
 *
 * WHAT IS NOT. Cryptography is perfect: a signature, a seal or a digest is what it stands for, and
 * fewer than T shares tell nothing. Masks are edges, not numbers. All clients of the roster are in
 * the directory (N = max_clients); a second directory differs in its digest alone. Corrupt dealers
 * have no secret that matters. Nothing here says that a round ends: only what may never happen.
 */

/* ---- Parameters: names as in RoundParams ------------------------------------------------- */

#ifndef N
#define N 4             /* clients in the directory, at most 16 */
#endif
#ifndef C
#define C 1             /* corrupt ones among them */
#endif
#ifndef T
#define T 3             /* threshold t: the rule is 2T > N + C */
#endif
#ifndef TW
#define TW 3            /* witness_threshold t_w: the rule is 2TW > N + C */
#endif
#ifndef MS
#define MS 3            /* min_survivors: the rule is MS >= max(T, TW, C + 2) */
#endif
#ifndef DIRS
#define DIRS 1          /* directories the aggregator has made for this one round, 1 or 2 */
#endif
#ifndef K
#define K 0             /* 0: complete graph; 4: ring, two neighbours on each side, needs C = 0 */
#endif
#ifndef M
#define M N             /* witnesses: the first M places of the ring; everyone, complete graph */
#endif

/* ---- Rules that can be broken ------------------------------------------------------------- */

#ifndef BINDS
#define BINDS 2         /* statements bind the directory and 2: U2, U3 (rule); 1: U3; 0: no more */
#endif
#ifndef DISTINCT
#define DISTINCT 1      /* 1: a signer counts once (rule); 0: a repeated statement counts again */
#endif
#ifndef JOURNAL
#define JOURNAL 1       /* 1: a restarted client abstains (rule); 0: it goes on, notes lost */
#endif
#ifndef NEIGHBOURS
#define NEIGHBOURS 0    /* 1: ring, each client asks itself and its neighbours, not the witnesses */
#endif

/* ---- How the search is kept small ---------------------------------------------------------- */

#ifndef FIXED_U2
#define FIXED_U2 0      /* 1: one directory, everyone dealt, everyone was shown U2 = everyone */
#endif
#ifndef CANDIDATES
#define CANDIDATES 0    /* 2: a client is shown one of two sets U3, chosen at the start; FIXED_U2 */
#endif
/* FIRST, SECOND: if defined, the two candidates */
#ifndef ORDERED
#define ORDERED 0       /* 1: clients are shown U3 in turn, and answer after that, in turn */
#endif
#ifndef RESTARTS
#define RESTARTS 1      /* 0: nobody restarts */
#endif
/*
 * CANDIDATES 2 loses nothing for VIEW: take two clients that answered for different views; a client
 * that was shown a third one signs a statement that neither counts, so it might as well be silent.
 * And where VIEW holds, all who answer answer for one view, so two are enough for BOTH and SUM too.
 * That argument needs statements that bind the view; broken variants use it only to be refuted.
 *
 * ORDERED loses nothing while nobody restarts: what a client is shown and signs does not depend on
 * the statements of others, so all of it may come first; a client that may answer still may when
 * there are more statements; and more answers only add to what the aggregator knows. So everyone
 * is shown its U3 or nothing, then every statement is forwarded to everyone, and the last state of
 * such a run knows at least what any state of another order knows.
 */

/* ---- What is asserted: sum of bits ---------------------------------------------------------- */

#ifndef PROPS
#define PROPS 7
#endif
#define VIEW (PROPS & 1)        /* two honest clients never answer for different views */
#define BOTH ((PROPS >> 1) & 1) /* no honest client's b and s are both known */
#define SUM ((PROPS >> 2) & 1)  /* no sum over fewer than MS - C honest clients can be unmasked */
#define NONE ((PROPS >> 3) & 1) /* no sum is ever unmasked: false, or the model proves nothing */

/* ---- Sets are bit masks ---------------------------------------------------------------------- */

#define H (N - C)
#define ALL ((1 << N) - 1)
#define HONEST ((1 << H) - 1)
#define CORRUPT (ALL - HONEST)
#define only(x) (1 << (x))
#define in(set, x) (((set) >> (x)) & 1)
#define four(set) (in(set, 0) + in(set, 1) + in(set, 2) + in(set, 3))
#define size(set) (four(set) + four((set) >> 4) + four((set) >> 8) + four((set) >> 12))

/* A(u), and who holds shares of dealer u: all on the complete graph, A(u) on the ring. */
#if K == 0
#define adjacent(u) (ALL & ~only(u))
#define holders(u) ALL
#else
#define adjacent(u) (only(((u) + 1) % N) | only(((u) + 2) % N) \
    | only(((u) + N - 1) % N) | only(((u) + N - 2) % N))
#define holders(u) adjacent(u)
#endif

/* Whose statement client u waits for. */
#if NEIGHBOURS
#define asks(u, w) in(adjacent(u) | only(u), w)
#else
#define asks(u, w) ((w) < M)
#endif

/* ---- State ---------------------------------------------------------------------------------- */

bit dealt[H];           /* ShareKeys done: shares of b and s are with the holders */
bit dir[H];             /* the directory this client was shown */
short u2[H];            /* the U2 it was shown and masked its input for; 0: not yet */
short u3[H];            /* the U3 it was shown and signed; 0: not yet */
short b[H], s[H];       /* dealer: the holders whose share of b_dealer, s_dealer is known */
#if !JOURNAL
short before[H];        /* the U3 it had signed before it forgot */
#endif
#if PROPS & 1
short answered2, answered3;     /* the view for which the first client answered; 0: nobody did */
bit answered_dir;
#endif
#if CANDIDATES
short candidate[2];
#endif
#if ORDERED
byte turn;              /* below H: that client is shown U3; then H more turns to answer */
#endif
bit ready = !FIXED_U2;  /* Setup is done */
#define me _pid

/* Scratch of deterministic steps, no part of the state. */
hidden byte i, j, l;
hidden short kb, ks, part, grown;
hidden byte sound;

/* ---- A client's checks on U2 and U3 (client/masked_input.rs, check_set) --------------------- */

#define check_set(set) \
    (in(set, me) && size(set) >= MS && size((set) & holders(me)) >= T)

/* The deliveries prove that each honest member of U2 dealt under this client's directory: a header
 * signed for another directory is refused, so U2 holds no phantom. Sets `sound` if all is well. */
inline check_deliveries(set)
{
    i = 0; sound = 1;
    do
    :: i < H ->
        if
        :: in(set, i) && !(dealt[i] && dir[i] == dir[me]) -> sound = 0
        :: else
        fi;
        i++
    :: else -> break
    od;
    i = 0
}

/* Whether the aggregator has a statement of signer w that agrees with the client's own view. A
 * corrupt signer says whatever is wanted, to everyone. An honest one said what it saw, once. The
 * statements that say something else are never counted, so leaving them out loses nothing. */
#define same_view(w, x3) (u2[w] != 0 && (x3) != 0 && dir[w] == dir[me] \
    && (BINDS < 2 || u2[w] == u2[me]) && (BINDS < 1 || (x3) == u3[me]))
#if JOURNAL
#define said(w) same_view(w, u3[w])
#else
#define said(w) (same_view(w, u3[w]) || same_view(w, before[w]))
#endif
#define agrees(w) (asks(me, w) && (w >= H || said((w < H -> w : 0))))

#include "secrets.pml"

/* ---- A client ------------------------------------------------------------------------------- */

#if ORDERED
#define my_turn_to_see (turn == me)
#define my_turn_to_answer (turn == H + me)
#define pass_turn turn++
#else
#define my_turn_to_see true
#define my_turn_to_answer true
#define pass_turn skip
#endif

/* The broken restart: shares are kept, but no note that this client signed or answered. Once is
 * enough to break it. */
#if RESTARTS && !JOURNAL
#define forget \
    atomic { before[me] == 0 && u3[me] != 0 -> \
        printf("client %d restarts and forgets that it signed\n", me); \
        before[me] = u3[me]; u3[me] = 0; goto U3shown }
#else
#define forget false
#endif

active [H] proctype Client()
{
    short set;          /* what the aggregator shows; 0 between steps */
    byte w, counted;    /* the list of statements that it forwards; 0 between steps */

#if !FIXED_U2
    /* ShareKeys. The aggregator shows some directory; its corrupt holders read their shares. */
    atomic {
        if :: dir[me] = 0 :: DIRS == 2 -> dir[me] = 1 fi;
        dealt[me] = 1; b[me] = CORRUPT & holders(me); s[me] = b[me];
        printf("client %d is shown directory %d and deals under it\n", me, dir[me])
    }

    /* MaskedInput. The aggregator shows some U2 with deliveries; the client checks and masks. */
U2shown:
    atomic {
        select(set : 1 .. ALL);
        set != 0;       /* a d_step may not be the target of the loop before it */
        d_step {
            check_deliveries(set);
            if
            :: sound && check_set(set) ->
                u2[me] = set;
                printf("client %d is shown U2 = set<%d> and masks its input\n", me, set)
            :: else
            fi;
            sound = 0; set = 0
        }
        if :: u2[me] != 0 :: else -> goto U2shown fi
    }
#endif

    /* ConsistencyCheck. The aggregator shows some U3; the client checks, notes in its journal that
     * it signs, and signs. A crash between the note and the sending is a statement that the
     * aggregator does not use. */
U3shown:
    if
    :: atomic {
        ready && my_turn_to_see;
#if CANDIDATES
        if :: set = candidate[0] :: set = candidate[1] fi;
#else
        select(set : 1 .. ALL);
#endif
        if
        :: check_set(set) && (set & ~u2[me]) == 0 -> 
            printf("client %d is shown U3 = set<%d> and signs\n", me, set);
            u3[me] = set; set = 0; pass_turn
        :: else -> set = 0; goto U3shown
        fi
      }
#if ORDERED
    :: atomic { ready && my_turn_to_see; pass_turn; goto Unmask }      /* it is shown nothing */
#endif
    :: atomic { RESTARTS && JOURNAL; goto end_out }
    fi;

    /* Unmask. The aggregator forwards some list of statements, those of corrupt signers made to
     * measure. The client counts those that agree with its own; it waits on if they are too few. */
Unmask:
    if
    :: atomic {
        my_turn_to_answer && (ORDERED || u3[me] != 0);
        do
        :: w < N && !(ORDERED && agrees(w)) -> w++                      /* left out */
        :: w < N && agrees(w) -> counted++; w++                         /* once in the list */
        :: w < N && agrees(w) && !DISTINCT -> counted = counted + TW; w++    /* many times */
        :: w == N -> break
        od;
        w = 0;
        if
        :: counted >= TW && u3[me] != 0 ->
            /* The journal notes the answer, then the answer is sent, once. */
            printf("client %d counts %d statements that agree and answers\n", me, counted);
            d_step { counted = 0; reveal(); check_view(); check_secrets(); pass_turn }
        :: else -> counted = 0; if :: ORDERED -> pass_turn :: else -> goto Unmask fi
        fi
      }
    :: atomic { RESTARTS && JOURNAL; goto end_out }
    :: forget
    fi;

end_out:
    if
    :: forget
    fi
}

#if FIXED_U2
/* Skips to where ShareKeys and MaskedInput are done, and chooses the two sets if there are two: any
 * two that are large enough, the smaller number first, as their order says nothing. */
active proctype Setup()
{
    short set;
    atomic {
#if CANDIDATES && defined(FIRST)
        candidate[0] = FIRST; candidate[1] = SECOND;
#elif CANDIDATES
        select(set : 1 .. ALL);
        if :: size(set) >= MS -> candidate[0] = set :: else -> set = 0; goto end_setup fi;
        select(set : 1 .. ALL);
        if
        :: size(set) >= MS && set > candidate[0] -> candidate[1] = set; set = 0
        :: else -> set = 0; goto end_setup
        fi;
#endif
        d_step {
            i = 0;
            do
            :: i < H ->
                dealt[i] = 1; u2[i] = ALL; b[i] = CORRUPT & holders(i); s[i] = b[i]; i++
            :: else -> break
            od;
            i = 0; ready = 1
        }
    }
end_setup:
    false
}
#endif
