/*
 * What the aggregator learns from answers, and what it may not. Part of unmask.pml, which explains
 * the names; all of it runs inside one deterministic step, with scratch variables i to sound.
 */

/* Unmask: for every dealer in U2 whose shares this client holds, that of b if the dealer is in U3,
 * else that of s. Never both. */
inline reveal()
{
    i = 0;
    do
    :: i < H ->
        if
        :: in(u2[me] & holders(me), i) && in(u3[me], i) -> b[i] = b[i] | only(me)
        :: in(u2[me] & holders(me), i) && !in(u3[me], i) -> s[i] = s[i] | only(me)
        :: else
        fi;
        i++
    :: else -> break
    od;
    i = 0
}

inline check_view()
{
#if PROPS & 1
    if
    :: answered2 == 0 ->
        answered_dir = dir[me]; answered2 = u2[me]; answered3 = u3[me]
    :: else ->
        if
        :: answered_dir != dir[me] || answered2 != u2[me] || answered3 != u3[me] ->
            printf("  two clients have answered for different views\n")
        :: else
        fi;
        assert(answered_dir == dir[me] && answered2 == u2[me] && answered3 == u3[me])
    fi
#else
    skip
#endif
}

/* The secrets that T shares give away: kb and ks. */
inline recover()
{
    i = 0; kb = 0; ks = 0;
    do
    :: i < H ->
        if :: size(b[i]) >= T -> kb = kb | only(i) :: else fi;
        if :: size(s[i]) >= T -> ks = ks | only(i) :: else fi;
        i++
    :: else -> break
    od
}

/* An input i comes free of its masks only in a sum: i's own mask needs b_i; the mask between i and
 * an honest neighbour w of i's U2 needs s_i, or s_w, or that w's input is in the sum too and bears
 * the same mask. So the smallest sum with i in it, `part`, is grown from i along the masks that
 * nobody can compute. It is out of reach (sound = 0) if it needs a b that is not known, an input
 * that was not sent, or a mask that only one side added. */
inline grow()
{
    part = only(i); grown = 0; sound = 1;
    do
    :: part != grown ->
        grown = part; j = 0;
        do
        :: j < H ->
            if
            :: in(part, j) && (!in(kb, j) || u2[j] == 0) -> sound = 0
            :: in(part, j) && in(kb, j) && u2[j] != 0 && !in(ks, j) ->
                part = part | (u2[j] & adjacent(j) & HONEST & ~ks)
            :: else
            fi;
            j++
        :: else -> break
        od
    :: else -> break
    od
}

/* Whether both sides added each of those masks. */
inline check_both_sides()
{
    j = 0;
    do
    :: j < H ->
        grown = (in(part, j) && !in(ks, j) -> u2[j] & adjacent(j) & HONEST & ~ks : 0);
        l = 0;
        do
        :: l < H ->
            if :: in(grown, l) && !in(u2[l], j) -> sound = 0 :: else fi;
            l++
        :: else -> break
        od;
        j++
    :: else -> break
    od
}

inline check_secrets()
{
    recover();
    printf("  the aggregator has b of set<%d>, s of set<%d>\n", kb, ks);
    assert(!BOTH || (kb & ks) == 0);
    i = 0;
    do
    :: (SUM || NONE) && i < H ->
        grow();
        check_both_sides();
        if
        :: sound -> printf("  and the sum of the inputs of set<%d>\n", part)
        :: else
        fi;
        assert(!sound || (!NONE && size(part) >= MS - C));
        i++
    :: else -> break
    od;
    i = 0; j = 0; l = 0; kb = 0; ks = 0; part = 0; grown = 0; sound = 0
}
