"""What a user can take from the answer to each question: written after reading its table, 26 November 2026."""

CONCLUSIONS = {
    "forms of MIN": (
        "Take the product, which is the default where a response is as good as its worst sentence: it is ahead of "
        "every other form on the mean of five sets (.778, the next .755), and nowhere behind by more than .002. The "
        "mean is far behind (.654). The paper's head on raw vectors stays near chance but on `prmbench`, whatever the "
        "form: what carries are the columns that compare a sentence with its context and query."
    ),
    "forms of MAX": (
        "Take noisy-or, the default where one good sentence is enough: ahead by .036 on the mean of four sets. Softmax "
        "pooling is .009 ahead on `multispanqa_windows`, and on reviews (`absa16_reviews`) the mean is .038 ahead. "
        "With the paper's head no form makes up for what its columns lack."
    ),
    "first model": (
        "Leave self-training off, as the default does: fresh heads that learn even an undisturbed first model's labels "
        "are .006 behind it on the mean, hard labels .008, and what is taught worse is learned worse, down to .060 "
        "behind under the strongest noise. A round was never clearly better than its teacher."
    ),
    "curriculum": (
        "It changes little: +.003 with the paper's head and +.005 with ours on the mean of three sets, one seed. If "
        "you believe in a prior, letting its weight move to the labels costs nothing; if not, leave priors out."
    ),
}
