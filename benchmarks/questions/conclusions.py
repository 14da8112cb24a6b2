"""What a user can take from the answer to each question: written after reading its table, 26 November 2026."""

CONCLUSIONS = {
    "forms of MIN": (
        "Take the product, which is the default where a response is as good as its worst sentence: it is ahead of "
        "every other form on the mean of five sets (.773, the next .751, the spread of seeds .006), and nowhere behind "
        "by more than .001. The mean is far behind (.653). The paper's head on raw vectors stays near chance but on "
        "`prmbench`, whatever the form: what carries are columns that compare a sentence with its context and query."
    ),
    "forms of MAX": (
        "Take noisy-or, the default where one good sentence is enough: ahead by .028 on the mean of four sets. Softmax "
        "pooling is .006 ahead on `multispanqa_windows`, and on reviews (`absa16_reviews`) the mean is .023 ahead. "
        "With the paper's head no form makes up for what its columns lack."
    ),
    "first model": (
        "Leave self-training off, as the default does: fresh heads that learn even an undisturbed first model's labels "
        "are .005 behind it on the mean, hard labels .008, and what is taught worse is learned worse, down to .045 "
        "behind under the strongest noise. Hard labels gained .006 and .007 on `processbench` and `realsumm_scu`, less "
        "than a seed changes, and lost .013 and .030 on the other two."
    ),
    "curriculum": (
        "It changes little: +.003 with either head on the mean of three sets, less than a seed changes. If you believe "
        "in a prior, letting its weight move to the labels costs nothing; if not, leave priors out."
    ),
}
